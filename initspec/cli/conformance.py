"""Check backends, or somebody else's initializer, against the specification.

Without arguments every backend that is installed is checked on every device in reach: its bits
against golden vectors, its samples against their laws, its errors. With --foreign an initializer
that is not initspec's is compared with a recipe, by statistics, and what is wrong is named.

Exit codes: 0 it conforms, 1 it does not, 2 usage, or something that was asked for is not there.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from initspec.errors import InitspecValueError
from initspec.terminal import printable

from .arguments import add_layout, integers, layout_options, seed

__all__ = ["configure", "run"]

_FAILED = 1
_DEFAULTS = {"JAX_ENABLE_X64": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
_LAYOUT = ("layout", "groups", "blocks", "stride", "transposed", "sizes")
_FOREIGN = ("as", "seeds", "shape", "protocol", *_LAYOUT)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec conformance``."""
    add = parser.add_argument
    repeated: dict[str, Any] = {"action": "append", "default": []}
    add("--backend", **repeated, metavar="NAME", help="only this backend; may be repeated")
    add("--device", **repeated, metavar="NAME", help="only this device, cpu or cuda; repeatable")
    add("--recipe", **repeated, metavar="NAME", help="only this recipe, on more layers; repeatable")
    add("--dtype", **repeated, metavar="NAME", help="only this dtype; may be repeated")
    add("--thorough", action="store_true", help="samples that show errors of 0.1 %% in a std")
    add("--seed", type=seed, help="of the samples (default: digits of pi)")
    foreign = parser.add_argument_group("a foreign initializer")
    add = foreign.add_argument
    add("--foreign", metavar="MODULE:NAME", help="as in torch.nn.init:kaiming_normal_(a=0.1)")
    add("--as", metavar="RECIPE", help="the recipe that it should conform to")
    add("--shape", type=integers, help="of the tensor (default: layers of its framework)")
    add("--seeds", action="store_true", help="look for seeds that should differ and do not, too")
    add("--protocol", choices=("fill", "key", "shape"), help="how it is called, if unclear")
    add_layout(foreign)
    reports = parser.add_argument_group("reports")
    add = reports.add_argument
    add("--json", action="store_true", help="print JSON instead of text")
    add("--github", action="store_true", help="print annotations for GitHub Actions as well")
    add(
        "--report",
        **repeated,
        type=Path,
        metavar="FILE",
        help="write it there too: .html (extra 'report'), .xml (JUnit), .json or .txt; repeatable",
    )


def run(options: argparse.Namespace) -> int:
    """Check, report; 1 if anything does not conform."""
    reports = import_module("initspec_conformance.reports")
    _check(options, reports)
    with _variables():
        report = _suite(options) if options.foreign is None else _foreign(options)
    try:
        for path in options.report:
            reports.write(report, path)
    finally:  # whatever the disk does, the verdict is not lost
        _show(report, options, reports)
    return 0 if report.conforms else _FAILED


def _show(report: Any, options: argparse.Namespace, reports: Any) -> None:
    if options.json:
        print(reports.as_json.render(report), end="")
    else:
        reports.text.show(report)
    if options.github:
        print(printable(reports.github.render(report)), end="")


@contextmanager
def _variables() -> Iterator[None]:
    """Defaults that frameworks read when they are imported: float64 in JAX, a quiet TensorFlow."""
    absent = [name for name in _DEFAULTS if name not in os.environ]
    os.environ.update({name: _DEFAULTS[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del os.environ[name]


def _check(options: argparse.Namespace, reports: Any) -> None:
    """Refuse what cannot work before anything takes time."""
    for path in options.report:
        reports.check_path(path)
    if options.json and options.github:
        expected = "one of the two: annotations among JSON can be read by nobody"
        raise InitspecValueError("--json, --github", True, expected, "Use --report FILE.json.")
    if options.foreign is not None and not vars(options)["as"]:
        advice = "For example --as he_normal; `initspec recipes` lists them."
        raise InitspecValueError("--as", None, "a recipe to compare with", advice)
    if options.foreign is None:
        for name in _FOREIGN:
            if vars(options)[name] not in (None, False, (1,) if name == "stride" else None):
                expected = "none without --foreign MODULE:NAME"
                raise InitspecValueError(f"--{name}", vars(options)[name], expected)
    elif options.backend or options.recipe:
        expected = "none together with --foreign"
        raise InitspecValueError("--backend, --recipe", options.backend + options.recipe, expected)


def _seeded(options: argparse.Namespace) -> dict[str, int]:
    return {} if options.seed is None else {"seed": options.seed}


def _suite(options: argparse.Namespace) -> Any:
    suite = import_module("initspec_conformance.suite").Suite(
        backends=options.backend,
        devices=options.device,
        recipes=options.recipe,
        dtypes=options.dtype,
        thorough=options.thorough,
        **_seeded(options),
    )
    return _watched(sum(1 for _ in suite.tasks()), suite.run)


def _watched(total: int, run: Callable[[Callable[[str], None]], Any]) -> Any:
    """What ``run`` returns, with a bar on a terminal meanwhile."""
    with import_module("initspec_conformance.progress").Progress(total) as progress:
        return run(progress.advance)


def _foreign(options: argparse.Namespace) -> Any:
    """Every layer, dtype and device of somebody else's initializer."""
    comparison = import_module("initspec_conformance.foreign.comparison").Comparison(
        options.foreign,
        vars(options)["as"],
        shape=options.shape,
        layout=layout_options(options),
        protocol=options.protocol,
        devices=options.device,
        dtypes=options.dtype,
        thorough=options.thorough,
        seeds=options.seeds,
        **_seeded(options),
    )
    return _watched(comparison.total, comparison.run)
