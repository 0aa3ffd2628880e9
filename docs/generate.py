"""Write what is made from the code: ``python docs/generate.py``.

The page of recipes comes from their table, and the outputs on the page of the command line from the
commands (but for ``doctor``, which says something else on every machine). Tests see to it that both
are fresh.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

from initspec.cli import main as initspec
from initspec.recipes import ALIASES, RECIPES, Recipe

PAGE = Path(__file__).parent / "recipes.md"
CLI_PAGE = Path(__file__).parent / "cli.md"
_CONSOLE = re.compile(r"^(```console\n\$ initspec (?!doctor)(.*?)\n).*?^```$", re.M | re.S)
_FILE = re.compile(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.M | re.S)

HEAD = """\
# Recipes and dialects

<!-- Made by docs/generate.py from initspec/recipes.py; do not edit. -->

`initspec.get(name)` gives the initializer of a row, and `replace` varies it:
`initspec.get("torch.trunc_normal").replace(std=0.02)`. The first table is initspec's own;
`initspec.he_normal` is `initspec.get("he_normal")`, while `initspec.orthogonal(gain)` and
`initspec.identity(gain)` are functions that make one. The others are *dialects*: each reproduces
what another system means by a name, with its factors, truncation, fan rule and defaults.

The promise says what agrees between frameworks: `bits`, everything; `rounded`, everything up to the
last bits of a matrix factorisation (see the [specification](spec.md#8-promise-levels)).

Aliases: {aliases}.
"""


def page() -> str:
    """The whole page."""
    aliases = ", ".join(f"`{alias}` is `{name}`" for alias, name in ALIASES.items())
    systems = dict.fromkeys(recipe.name.partition(".")[0] for recipe in _dialects())
    parts = [HEAD.format(aliases=aliases), _table("initspec", _own())]
    for system in systems:
        rows = [recipe for recipe in _dialects() if recipe.name.partition(".")[0] == system]
        parts.append(_table(f"Dialect `{system}`", rows))
    return "\n".join(parts)


def _own() -> list[Recipe]:
    return [recipe for recipe in RECIPES.values() if not recipe.system]


def _dialects() -> list[Recipe]:
    return [recipe for recipe in RECIPES.values() if recipe.system]


def _table(title: str, rows: list[Recipe]) -> str:
    same = len({recipe.source for recipe in rows}) == 1
    head = f"## {title}\n\n" + (f"Source: {rows[0].source}.\n\n" if same else "")
    columns = ["name", "formula", "promise"] + ([] if same else ["source"])
    lines = [_row(columns), _row(["---"] * len(columns))]
    for recipe in rows:
        cells = [f"`{recipe.name}`", recipe.formula, _promise(recipe)]
        lines.append(_row(cells + ([] if same else [recipe.source])))
    return head + "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _promise(recipe: Recipe) -> str:
    factored = recipe.initializer.distribution in ("orthogonal", "delta_orthogonal")
    return "`rounded`" if factored else "`bits`"


def cli_page() -> str:
    """The page of the command line with fresh outputs, in a folder with the files that it shows."""
    text = CLI_PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in _FILE.findall(text):
            Path(name).write_text(content, encoding="utf-8")
        return _CONSOLE.sub(_with_output, text)


def _with_output(block: re.Match[str]) -> str:
    os.environ["COLUMNS"] = "80"
    raw = io.BytesIO()
    printed = io.TextIOWrapper(raw, "utf-8")  # the commands look at the encoding
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        initspec(shlex.split(block[2]))
    printed.flush()
    return f"{block[1]}{raw.getvalue().decode()}```"


def main() -> None:
    """Write both pages."""
    PAGE.write_text(page(), encoding="utf-8")
    CLI_PAGE.write_text(cli_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
