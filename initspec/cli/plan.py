"""Say what a config would do to a model, or whether a config can be read.

With --model: for every logical tensor where it is stored, the rule that decides, and the standard
deviation it will have. Nothing is written, and models without memory (meta tensors, abstract trees)
will do. Without --model: the config's rules with all that it extends, in their order.
"""

from __future__ import annotations

import argparse
from typing import Any

from initspec.models.config import Config, Match, Rule
from initspec.models.config.reading import load
from initspec.models.plans import Plan
from initspec.models.tables import plan_cells, plan_headers

from .models import add_config, add_model, counts, make_model, make_plan, print_json, say, summary
from .table import print_table

__all__ = ["configure", "run"]

_HEADERS = ("rule", "match", "init", "where")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec plan``."""
    add_config(parser)
    add_model(parser, required=False)
    text = "layout, formula, and the rule that would decide without the first"
    parser.add_argument("--verbose", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Plan, print."""
    config = load(options.config)
    if options.model is None:
        _show_config(config.resolved(), options)
        return 0
    plan = make_plan(config, make_model(options.model, options.arg), options.seed)
    if options.json:
        print_json(_record(plan, options.config))
    else:
        rows = [plan_cells(row, options.verbose) for row in plan.rows]
        print_table(plan_headers(options.verbose), rows)
        say(f"\n{summary(plan)}")
    return 0


def _record(plan: Plan, config: str) -> dict[str, Any]:
    facts = {"config": config, "framework": plan.model.framework, "counts": counts(plan)}
    return {**facts, **plan.to_dict()}


# --- without a model ------------------------------------------------------------------------------


def _show_config(config: Config, options: argparse.Namespace) -> None:
    if options.json:
        places = [{"file": rule.source, "line": rule.line} for rule in config.rules]
        print_json({"config": options.config, "resolved": config.to_dict(), "places": places})
        return
    print_table(_HEADERS, [_cells(rule) for rule in config.rules])
    rules = "1 rule" if len(config.rules) == 1 else f"{len(config.rules)} rules"
    seed = "no seed" if config.seed is None else f"seed {config.seed}"
    say(f"\n{rules}, what no rule matches: {config.unmatched}, {seed}")


def _cells(rule: Rule) -> tuple[str, ...]:
    plain = rule.to_dict()
    where = f"{rule.source}:{rule.line}" if rule.line else rule.source
    return rule.name, _match(rule.match), _init(plain["init"]), where


def _match(match: Match) -> str:
    return _words(match.to_dict()) or "everything"


def _init(plain: Any) -> str:
    """As ``normal(std=0.02)``."""
    if isinstance(plain, str):
        return plain
    fields = ", ".join(f"{k}={v}" for k, v in plain.items() if k != "type")
    return f"{plain.get('type', 'initializer')}({fields})"


def _words(plain: dict[str, Any]) -> str:
    """As ``role kernel, layer conv or dense, not (role bias)``."""
    parts = []
    for key, value in plain.items():
        if isinstance(value, dict):
            parts.append(f"{key} ({_words(value)})")
        else:
            parts.append(f"{key} {value if isinstance(value, str) else ' or '.join(value)}")
    return ", ".join(parts)
