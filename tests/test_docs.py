"""The documentation is true: its code runs, its output is the output, generated pages are fresh."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import initspec
from initspec.initializer import Initializer
from initspec.recipes import RECIPES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, and whether it directly follows another."""

    language: str
    text: str
    follows: bool


def blocks(page: Path) -> list[Block]:
    text, end, found = page.read_text(encoding="utf-8"), 0, []
    for match in FENCE.finditer(text):
        found.append(Block(match[1], match[2], not text[end : match.start()].strip()))
        end = match.end()
    return found


# Keras converts TensorFlow's variables in an old way when it saves a model.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run_and_print_what_is_shown(page, tmp_path, monkeypatch):
    """Blocks run in order in one namespace; a ``text`` block right after one is its output."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    printed = ""
    for block in blocks(page):
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, page.name, "exec"), namespace)
            printed = out.getvalue()
        elif block.language == "text" and block.follows and printed:
            assert printed == block.text
            printed = ""
        else:
            printed = ""


def test_pages_have_code_that_the_test_runs():
    counted = {page.name: sum(b.language == "python" for b in blocks(page)) for page in PAGES}
    for name in ("README.md", "layouts.md", "torch.md", "keras.md", "jax.md", "tensorflow.md"):
        assert counted[name] >= 2, counted


def test_the_readme_shows_code_before_line_15():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 14


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh():
    assert generator().PAGE.read_text() == generator().page(), "run: python docs/generate.py"


def test_the_site_builds_without_a_warning(tmp_path):
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command = [*mkdocs, "--config-file", ROOT / ".mkdocs.yml", "--site-dir", tmp_path]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "spec" / "index.html").exists()


def test_every_recipe_is_in_the_docs():
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in RECIPES if f"| `{name}` |" not in text] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / ".mkdocs.yml").read_text()
    assert [page.name for page in PAGES[1:] if f": {page.name}\n" not in navigation] == []


def test_every_public_function_says_what_it_must():
    """Formula or one line, arguments, returns, errors, example, source."""
    sections = ("Args:", "Returns:", "Raises:", "Example:", "Source")
    missing = {
        name: [section for section in sections if section not in (value.__doc__ or "")]
        for name in initspec.__all__
        if callable(value := getattr(initspec, name)) and not isinstance(value, (type, Initializer))
    }
    assert {name: gaps for name, gaps in missing.items() if gaps} == {}


def test_all_is_sorted_and_complete():
    public = {
        name
        for name, value in vars(initspec).items()
        if not name.startswith("_") and not hasattr(value, "__path__") and not _is_module(value)
    }
    assert sorted(initspec.__all__) == initspec.__all__
    assert set(initspec.__all__) == public | initspec._MODELS


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"


# --- the table of the README ------------------------------------------------------------------


def spread(array: object) -> tuple[float, float]:
    values = np.asarray(array, np.float64)
    return float(values.std()), float(np.abs(values).max() / values.std())


def row(start: str) -> list[str]:
    lines = (ROOT / "README.md").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"| {start}"))
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")][1:]


def number(cell: str) -> float:
    return float(re.search(r"\d+\.\d+", cell)[0])


def kaiming(shape: tuple[int, ...]) -> np.ndarray:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.init.kaiming_normal_(torch.empty(shape)).numpy()


def keras_he(shape: tuple[int, ...]) -> object:
    keras = pytest.importorskip("keras")
    return keras.ops.convert_to_numpy(keras.initializers.HeNormal(seed=0)(shape))


def jax_he(shape: tuple[int, ...]) -> object:
    jax = pytest.importorskip("jax")
    return jax.nn.initializers.he_normal()(jax.random.key(0), shape)


def ours(shape: tuple[int, ...], **layout: object) -> float:
    return initspec.he_normal.describe(shape, **layout).std


def test_readme_truncation_row():
    cells = [number(cell) for cell in row('"He normal", 3×3 convolution')]
    ratios = [
        spread(kaiming((512, 256, 3, 3)))[1],
        spread(keras_he((3, 3, 256, 512)))[1],
        spread(jax_he((3, 3, 256, 512)))[1],
        spread(initspec.he_normal((3, 3, 256, 512), seed=0))[1],
    ]
    assert cells == pytest.approx(ratios, rel=0.06)  # the torch column is a sample maximum


@pytest.mark.parametrize(
    ("start", "torch_shape", "other_shapes", "layout"),
    [
        ('"He normal", depthwise', (1024, 1, 3, 3), [(3, 3, 512, 2), (3, 3, 1, 1024)], "HWGO"),
        ('"He normal", transposed', (64, 256, 4, 4), [(4, 4, 256, 64), (4, 4, 64, 256)], "HWOI"),
        ('"He normal", 8 experts', (8, 512, 256), [(8, 512, 256)] * 2, "SIO"),
    ],
)
def test_readme_fan_rows(start, torch_shape, other_shapes, layout):
    stride = 2 if "transposed" in start else 1
    measured = [
        spread(kaiming(torch_shape))[0],
        spread(keras_he(other_shapes[0]))[0],
        spread(jax_he(other_shapes[1]))[0],
        ours(other_shapes[0], layout=layout, stride=stride),
    ]
    assert [number(cell) for cell in row(start)] == pytest.approx(measured, rel=0.02)


def test_readme_truncated_normal_row():
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    jax = pytest.importorskip("jax")
    shape = (1024, 1024)
    cut = torch.nn.init.trunc_normal_(torch.empty(shape), std=0.02).numpy()
    other = keras.initializers.TruncatedNormal(stddev=0.02, seed=0)(shape)
    third = jax.nn.initializers.truncated_normal(0.02)(jax.random.key(0), shape)
    measured = [spread(values)[0] for values in (cut, keras.ops.convert_to_numpy(other), third)]
    cells = row('"truncated normal", std 0.02')[:3]
    assert [number(cell) for cell in cells] == pytest.approx(measured, rel=0.005)
