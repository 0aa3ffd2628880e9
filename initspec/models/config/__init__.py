"""The config of whole models: typed objects, files, presets, and what is wrong with them."""

from .inits import Init
from .objects import Config, Fused, Match, Rule, Stacked, Tensor
from .problems import ConfigError, PlanError
from .reading import load, loads
from .writing import dump, dumps

__all__ = [
    "Config",
    "ConfigError",
    "Fused",
    "Init",
    "Match",
    "PlanError",
    "Rule",
    "Stacked",
    "Tensor",
    "dump",
    "dumps",
    "load",
    "loads",
]
