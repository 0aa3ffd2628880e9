"""The command line: every verb does what its page says, and bad input is told in one line."""

import argparse
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cli_checks import runner

import initspec
from initspec import registry, terminal
from initspec.cli import VERBS, make_parser, sample, table
from initspec.initializer import Initializer
from initspec.recipes import ALIASES, RECIPES

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
CONSOLE = re.compile(r"^```console\n\$ initspec (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    for name in ("NO_COLOR", "INITSPEC_KERNEL", "INITSPEC_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def call(capsys):
    return runner(capsys)


@pytest.fixture
def answer(call):
    """What a command prints as JSON."""

    def run(command):
        code, out, err = call(f"{command} --json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


def subcommands():
    actions = make_parser()._actions
    return next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices


# --- help and documentation -------------------------------------------------------------------


def test_every_verb_is_a_command_with_help():
    assert set(subcommands()) == set(VERBS)
    for parser in subcommands().values():
        assert parser.description
        assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_prints(call, verb):
    code, out, _ = call(f"{verb} --help")
    assert code == 0
    assert out.startswith(f"usage: initspec {verb}")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_documented(verb):
    page = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## initspec {verb}$(.*?)(^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section on {verb}"
    named = [
        option for a in subcommands()[verb]._actions for option in a.option_strings or [a.dest]
    ]
    wanted = {name for name in named if name not in ("-h", "--help")}
    assert {name for name in wanted if not re.search(rf"`{name}\b", section[1])} == set()


def documented():
    """The commands on the page whose output is the same on every machine."""
    found = CONSOLE.findall(PAGE.read_text(encoding="utf-8"))
    return [pytest.param(*pair, id=pair[0]) for pair in found if not pair[0].startswith("doctor")]


def test_the_page_has_examples():
    assert len(documented()) >= 4


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A folder with the files that the page shows."""
    for name, content in FILE.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize(("command", "output"), documented())
def test_the_page_shows_real_output(call, command, output):
    if "--model" in command:
        pytest.importorskip("torch")
    code, out, err = call(command)
    assert out + err == output
    assert code == (2 if err else 0)


# --- the program ------------------------------------------------------------------------------


def run(arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-m", "initspec", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )


def test_python_m_initspec():
    done = run(["--version"])
    assert (done.returncode, done.stdout) == (0, f"initspec {initspec.__version__}\n")


@pytest.mark.parametrize("words", [[], ["nonsense"], ["show"], ["recipes", "--nonsense"]])
def test_usage_errors_are_2(call, words):
    code, out, err = call(words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: initspec")


def test_a_reader_that_leaves_early_is_no_error():
    arguments = [sys.executable, "-P", "-c", "from initspec.cli import main; exit(main())"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*arguments, "recipes"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("show he_norml 3,3", "Did you mean 'he_normal'?"),
        ("show he_normal 3", "rank 1"),
        ("show he_normal 3,-3", "at least 0"),
        ("show he_normal 3,3 --layout OIH", "as many axes"),
        ("show he_normal 3,3 --seed -1", "[0, 2**64)"),
        ("show he_normal 3,3 --dtype int8", "float32"),
        ("show he_normal 3,3 --set mode=5", "fan_in"),
        ("show he_normal 3,3 --set colour=5", "colour"),
        ("show he_normal 3,3 --set gain=gelo", "Did you mean 'gelu'?"),
        ("show normal 3,3 --set std=-1", "not negative"),
        ("show normal 3,3 --set std=nan", "finite"),
        ("show normal 3,3 --set width=1", "std, mean"),
        ("show sparse 3,3", "sparsity"),
        ("show normal 3,3 --set std=1e-9 --dtype float16", "float16 cannot hold it"),
        ("show he_normal 3,3 --groups 2", "3"),
        ("show he_normal 0,3 --png x.png", "--png"),
        ("recipes he_norml", "Did you mean 'he_normal'?"),
    ],
)
def test_bad_input_is_2_and_one_message(call, command, complaint):
    code, out, err = call(command)
    assert (code, out) == (2, "")
    assert err.startswith(f"initspec {command.split()[0]}: ")
    assert complaint in err


@pytest.mark.parametrize(
    "command",
    [
        "show he_normal 3,x",
        "show he_normal 3,3 --seed x",
        "show he_normal 3,3 --set std",
        "show he_normal 3,3 --sizes H",
        "show he_normal 3,3 --stride x",
        "show he_normal 3,3 --convention mxnet",
        "recipes --system nonsense",
        "doctor --timeout x",
    ],
)
def test_bad_arguments_say_what_was_given_and_expected(call, command):
    code, out, err = call(command)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert re.match(r"initspec \w+: error: argument [\w-]+: .*'[\w,]+'", last)
    assert " _" not in last, "the name of a function is no explanation"


# --- show -------------------------------------------------------------------------------------


def test_show_describes_as_describe_does(answer):
    shown = answer("show he_normal 16,3,3,3 --convention torch --groups 8 --stride 2")
    described = initspec.he_normal.describe((16, 3, 3, 3), "OIHW", groups=8, stride=2)
    assert Initializer.from_dict(shown["initializer"]) == initspec.he_normal
    assert shown["description"] == json.loads(json.dumps(described.to_dict()))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_show_measures_the_real_draw(answer, dtype):
    shown = answer(f"show glorot_normal 40,30 --dtype {dtype} --seed 0x10 --name w")["drawn"]
    real = initspec.glorot_normal((40, 30), dtype=dtype, seed=16, name="w").astype(np.float64)
    assert (shown["count"], shown["of"]) == (1200, 1200)
    assert shown["mean"] == pytest.approx(real.mean(), rel=1e-9, abs=1e-12)
    assert shown["std"] == pytest.approx(real.std(), rel=1e-9)
    assert (shown["low"], shown["high"]) == (real.min(), real.max())
    assert shown["kurtosis"] == pytest.approx((((real - real.mean()) / real.std()) ** 4).mean())
    assert sum(shown["histogram"]["counts"]) == 1200


def test_show_reads_the_bits_of_bfloat16(answer):
    exact = answer("show he_normal 40,30")["drawn"]
    rounded = answer("show he_normal 40,30 --dtype bfloat16")["drawn"]
    assert rounded["std"] != exact["std"]
    assert rounded["std"] == pytest.approx(exact["std"], rel=1e-3)


def test_show_text_has_specified_beside_drawn(call):
    _, out, _ = call("show he_normal 3,3,64,128 --layout HWIO")
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    specified, drawn = map(float, lines["std"])
    assert specified == pytest.approx((2 / 576) ** 0.5, rel=1e-5)
    assert drawn == pytest.approx(specified, rel=0.01)
    assert lines["fans"] == ["fan_in", "576,", "fan_out", "1152"]
    assert out.count("█") > 100


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("normal 4,4 --set std=0.02 --set mean=1", initspec.normal(0.02, 1.0)),
        ("truncated_normal 4,4 --set high=none", initspec.truncated_normal(1.0, -2.0, None)),
        ("he_normal 4,4 --set mode=fan_out", initspec.he_normal.replace(mode="fan_out")),
        ("variance_scaling 4,4 --set gain=gelu", initspec.variance_scaling(gain="gelu")),
        (
            "he_normal 4,4 --set compensate=false",
            initspec.he_normal.replace(compensate=False),
        ),
        ("he_normal 4,4 --set gain=tanh", initspec.he_normal.replace(gain=initspec.gain("tanh"))),
        ("kaiming_normal 4,4", initspec.he_normal),
        ("sparse 4,4 --set sparsity=0.5", initspec.sparse(0.5)),
    ],
)
def test_set_varies_the_initializer(answer, command, expected):
    assert Initializer.from_dict(answer(f"show {command}")["initializer"]) == expected


def test_layout_options_reach_the_layout(answer):
    fused = answer("show glorot_normal 32,8 --layout '(4O)I' --blocks i,f,g,o")
    assert fused["description"]["fan_out"] == 8
    sized = answer("show he_normal 36,5 --layout '(H W I) O' --sizes H=3,W=3")
    assert sized["description"]["fan_in"] == 36
    turned = answer("show he_normal 4,4,8,6 --layout HWIO --transposed --stride 2,1")
    assert turned["description"]["fan_in"] == 4 * 4 * 8 / 2
    straight = answer("show he_normal 8,6,4,4 --layout IOHW --no-transposed --stride 2")
    assert straight["description"]["fan_out"] == 4 * 4 * 6 / 4


@pytest.mark.parametrize(
    "command", ["zeros 3,3", "ones 3,3", "constant 3,3 --dtype float64 --set value=-1e300"]
)
def test_constants_have_one_bar(answer, call, command):
    drawn = answer(f"show {command}")["drawn"]
    assert drawn["histogram"]["counts"] == [9]
    assert drawn["std"] == 0.0
    assert drawn["kurtosis"] is None
    assert call(f"show {command}")[0] == 0


def test_magnitudes_do_not_overflow(answer):
    drawn = answer("show normal 50,50 --set std=1e200 --dtype float64")["drawn"]
    assert drawn["std"] == pytest.approx(1e200, rel=0.1)
    assert drawn["kurtosis"] == pytest.approx(3.0, rel=0.2)


def test_an_empty_tensor_has_nothing_to_show(answer, call):
    assert answer("show he_normal 0,4")["drawn"] is None
    assert "nothing: it is empty" in call("show he_normal 0,4")[1]


def test_a_giant_is_sampled_and_never_allocated(answer):
    answer("show zeros 2,2")  # whatever is cached is allocated here
    tracemalloc.start()
    drawn = answer("show he_normal 1000000,1000000")["drawn"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (drawn["count"], drawn["of"]) == (sample.LIMIT, 10**12)
    assert drawn["std"] == pytest.approx((2 / 10**6) ** 0.5, rel=0.01)
    assert peak < 100e6


def test_a_giant_that_cannot_be_sampled_says_so(call):
    code, out, _ = call("show orthogonal 100000,100000")
    assert code == 0
    assert "nothing: it is too large" in out


@pytest.mark.parametrize("blocks", [None, ("a", "b")])
def test_a_sample_is_the_beginning_of_every_block(monkeypatch, blocks):
    """Of a tensor of several chunks, so that the later ones must be left alone."""
    monkeypatch.setattr(sample, "LIMIT", 100)
    options = {"layout": "SIO", "blocks": blocks}
    backend = registry.get_backend("numpy")
    plan = backend.plan(initspec.he_normal, (2, 256, 256), "float32", options, 7, "w")
    real = plan.geometry.canonical(initspec.he_normal((2, 256, 256), seed=7, name="w", **options))
    expected = real.reshape(1, -1)[:, :100] if blocks is None else real.reshape(2, -1)[:, :50]
    assert sample.take(plan, "float32").values.tolist() == expected.reshape(-1).tolist()


def test_bars_are_ascii_where_the_terminal_is():
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "ascii",
    }
    command = [sys.executable, "-P", "-m", "initspec", "show", "he_normal", "30,30"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"####" in done.stdout


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.0201, 0.02, "0.000"), (1.0, 1.1, "1.05"), (100.0, 140.0, "120"), (1e-12, 3e-12, "2e-12")],
)
def test_bins_are_labelled_to_the_digits_that_matter(low, high, text):
    from initspec.cli.show import _middle

    assert _middle(low, high) == text


# --- show --png -------------------------------------------------------------------------------


def test_png(call, tmp_path):
    pytest.importorskip("matplotlib")
    for recipe in ("he_normal", "zeros"):
        file = tmp_path / f"{recipe}.png"
        code, _, err = call(f"show {recipe} 30,30 --png {file}")
        assert (code, err) == (0, "")
        assert file.read_bytes().startswith(b"\x89PNG\r\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_png_without_matplotlib_names_the_extra(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = call(f"show he_normal 30,30 --png {tmp_path / 'x.png'}")
    assert (code, out) == (2, "")
    assert "pip install 'initspec[plot]'" in err
    assert list(tmp_path.iterdir()) == []


# --- recipes ----------------------------------------------------------------------------------


def test_recipes_lists_all(answer, call):
    listed = answer("recipes")
    assert [row["name"] for row in listed] == list(RECIPES)
    assert {alias for row in listed for alias in row["aliases"]} == set(ALIASES)
    for row in listed:
        assert Initializer.from_dict(row["initializer"]) == initspec.get(row["name"])
        assert row["source"] == RECIPES[row["name"]].source
    _, out, _ = call("recipes")
    assert [name for name in (*RECIPES, *ALIASES) if name not in out] == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("recipes xavier --system initspec", ["glorot_normal", "glorot_uniform"]),
        ("recipes 'caffe.*'", ["caffe.xavier", "caffe.msra"]),
        ("recipes e?e", ["identity"]),
        ("recipes MSRA --system caffe", ["caffe.msra"]),
    ],
)
def test_recipes_are_found_by_name_alias_pattern_and_system(answer, command, names):
    assert [row["name"] for row in answer(command)] == names


def test_recipes_are_grouped_by_system(call):
    _, out, _ = call("recipes '*orthogonal'")
    assert re.findall(r"^\[(.*)\]$", out, re.MULTILINE) == [
        row.partition(".")[0] for row in dict.fromkeys(_systems("orthogonal"))
    ]


def _systems(suffix):
    return [
        recipe.system or "initspec" for name, recipe in RECIPES.items() if name.endswith(suffix)
    ]


# --- tables -----------------------------------------------------------------------------------

ROWS = [("a [bold]", "1"), ("b", "22")]


@pytest.fixture
def on_terminal(monkeypatch, capsys):
    """Print the rows to a stdout that says it is a terminal, with these variables."""

    def run(**variables):
        for name, value in {"TERM": "xterm", "FORCE_COLOR": "1", **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        table.print_table(("name", "n"), ROWS, title="[title]")
        return capsys.readouterr().out

    return run


PLAIN = "name      n\na [bold]  1\nb         22\n"


def test_rich_draws_on_a_terminal(on_terminal):
    pytest.importorskip("rich")
    out = on_terminal()
    assert "\x1b[" in out
    assert "─" in out
    assert "a [bold]" in out
    assert "[title]" in out


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_columns_where_colour_is_not_wanted(on_terminal, variables):
    assert on_terminal(**variables) == f"[title]\n{PLAIN}"


def test_plain_columns_without_rich(on_terminal, monkeypatch):
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    assert on_terminal() == f"[title]\n{PLAIN}"


def test_plain_columns_in_a_pipe(capsys):
    table.print_table(("name", "n"), ROWS)
    assert capsys.readouterr().out == PLAIN


def test_a_dialect_brings_its_own_convention(answer):
    assert answer("show torch.kaiming_normal 64,3,7,7")["description"]["layout"] == "OIHW"
    assert answer("show keras.he_normal 7,7,3,64")["description"]["layout"] == "HWIO"
    assert (
        answer("show torch.kaiming_normal 7,7,3,64 --convention jax")["description"]["layout"]
        == "HWIO"
    )
