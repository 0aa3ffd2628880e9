"""Whole models: one config, any framework, the same network.

`load` reads a config; `plan` says what it would do to a model, `apply` does it, `check` says
whether weights conform, `lock` and `verify` keep their digests, `diff` compares, `propose` maps the
names of one model to those of another.
"""

from .api import apply, check, diff, lock, plan, verify
from .config import (
    Config,
    ConfigError,
    Fused,
    Init,
    Match,
    PlanError,
    Rule,
    Stacked,
    Tensor,
    dump,
    dumps,
    load,
    loads,
)
from .mapping import NameMap, propose
from .slots import Slot, Split

__all__ = [
    "Config",
    "ConfigError",
    "Fused",
    "Init",
    "Match",
    "NameMap",
    "PlanError",
    "Rule",
    "Slot",
    "Split",
    "Stacked",
    "Tensor",
    "apply",
    "check",
    "diff",
    "dump",
    "dumps",
    "load",
    "loads",
    "lock",
    "plan",
    "propose",
    "verify",
]
