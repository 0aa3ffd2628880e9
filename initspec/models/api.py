"""What users call: a model, a config, and a verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

from initspec import stream
from initspec.errors import InitspecTypeError

from .adapters import open_model
from .checking import Checked, check_plan
from .config import Config
from .config.reading import load
from .differences import Differences, diff_configs, diff_plans
from .locking import Lock, lock_plan, read_lock, verify_plan
from .model import Layers
from .names import layer_slots
from .planner import make_plan
from .plans import Plan

__all__ = ["apply", "check", "diff", "lock", "plan", "resolve_config", "verify"]


def resolve_config(config: Any) -> Config:
    """A config without ``extends``, from a `Config`, a path, a preset's name or a plain tree."""
    if isinstance(config, (str, PathLike)):
        config = load(fspath(config))
    elif isinstance(config, Mapping):
        config = Config.from_dict(config)
    if not isinstance(config, Config):
        expected = "a Config, the path of a file, a preset such as 'initspec:gpt2', or a dictionary"
        advice = "Of models, compare plans: plan(model, config)."
        raise InitspecTypeError("config", type(config), expected, advice)
    return config.resolved()


def plan(model: Any, config: Any, *, seed: int | None = None) -> Plan:
    """What a config would do to a model; nothing is written, and nothing allocated.

    Args:
        model: a torch.nn.Module, a Keras model or layer, an nnx or equinox module, an
            `initspec_jax.Linen` or `initspec_jax.Haiku` (those modules have no weights of their
            own), or a tree of arrays. Meta tensors and abstract trees will do.
        config: a `Config`, the path of a file, a preset such as ``"initspec:torch-defaults"``, or
            a dictionary of the same form.
        seed: takes the place of the config's.

    Returns:
        A `Plan`: ``print(plan)`` is a table; ``apply()``, ``to_dict()``.

    Raises:
        ConfigError: the config cannot be read; all its problems at once.
        PlanError: it does not fit the model; all problems at once.

    Example:
        >>> import numpy as np
        >>> from initspec.models import Config, Rule
        >>> names = {"numpy": {"fc/w": {"path": "fc/kernel", "layout": "IO"}}}
        >>> config = Config(rules=[Rule("all", role="kernel", init="he_normal")], names=names)
        >>> [row.path for row in plan({"fc": {"w": np.zeros((4, 3))}}, config).rows]
        ['fc/kernel']

    Source: the format is in ``docs/config.md``.
    """
    resolved = resolve_config(config)
    layers: Layers = {name: layer_slots(name, each) for name, each in resolved.layers.items()}
    number = None if seed is None else stream.check_seed(seed)
    return make_plan(open_model(model, layers), resolved, number)


def apply(
    model: Any,
    config: Any,
    *,
    seed: int | None = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
) -> Any:
    """Initialise a model: torch, Keras and nnx in place, others as a new tree.

    Args:
        model, config, seed: as for `plan`.
        only, skip: globs of canonical paths: what is written, and what is not.

    Returns:
        The model, or the new tree. `Plan.apply` tells the provenance of every tensor as well.

    Raises:
        InitspecError: as `plan` and `Plan.apply`; nothing has been written then.

    Example:
        >>> import numpy as np
        >>> tree = {"w": np.zeros((2, 2))}
        >>> names = {"numpy": {"w": {"path": "fc/kernel", "layout": "IO"}}}
        >>> config = {"initspec": 1, "names": names}
        >>> config["rule"] = [{"name": "all", "match": {"role": "kernel"}, "init": "identity"}]
        >>> apply(tree, config, seed=0)["w"].tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source: the stream is in ``docs/spec.md``; a tensor's name is its canonical path.
    """
    return plan(model, config, seed=seed).apply(only=only, skip=skip).model


def check(model: Any, config: Any, *, seed: int | None = None, bits: bool | None = None) -> Checked:
    """Do the weights that a model has conform to a config?

    Args:
        model, config, seed: as for `plan`.
        bits: whether every bit must be the seed's; None: if there is a seed. False compares
            distributions alone.

    Returns:
        `Checked`: ``passed``, ``failures``; ``print`` says what is wrong with each. Knobs that the
        config names are compared, too.

    Raises:
        InitspecError: as `plan`; ``bits=True`` without a seed.

    Example:
        >>> import numpy as np
        >>> names = {"numpy": {"b": {"path": "fc/bias", "layout": "O"}}}
        >>> config = {"initspec": 1, "extends": "initspec:base", "names": names}
        >>> print(check({"b": np.array([0.0, 0.5])}, config))
        fc/bias: 1 of 2 values differ from constant 0
        0 of 1 conform; 0 kept as they are

    Source: the statistics are those of ``docs/conformance.md``.
    """
    return check_plan(plan(model, config, seed=seed), bits=bits)


def lock(model: Any, config: Any, *, seed: int | None = None) -> Lock:
    """The digest of every logical tensor that a config gives a model: the same in any framework.

    Args:
        model, config, seed: as for `plan`; nothing is written.

    Returns:
        A `Lock`: ``dump(path)`` writes ``init.lock.toml``.

    Raises:
        InitspecError: as `plan`; there is no seed.

    Example:
        >>> import numpy as np
        >>> names = {"numpy": {"b": {"path": "fc/bias", "layout": "O"}}}
        >>> config = {"initspec": 1, "seed": 0, "extends": "initspec:base", "names": names}
        >>> lock({"b": np.zeros(2)}, config).tensors[0].path
        'fc/bias'

    Source: SHA-256 of the float32 values in canonical order, ``docs/spec.md``.
    """
    return lock_plan(plan(model, config, seed=seed))


def verify(model: Any, config: Any, lock: Any, *, weights: bool = True) -> Checked:
    """Do a config, and the weights of a model, still give what a lock says?

    Args:
        model, config: as for `plan`; the seed is the lock's.
        lock: a `Lock`, or the path of a file.
        weights: False compares the plan alone.

    Returns:
        `Checked`, as from `check`.

    Raises:
        InitspecError: as `plan`; the file is no lock.

    Example:
        >>> import numpy as np
        >>> names = {"numpy": {"b": {"path": "fc/bias", "layout": "O"}}}
        >>> config = {"initspec": 1, "seed": 0, "extends": "initspec:base", "names": names}
        >>> locked = lock({"b": np.zeros(2)}, config)
        >>> verify({"b": np.ones(2)}, config, locked).passed
        False

    Source: as `lock`.
    """
    known = read_lock(lock) if isinstance(lock, (str, PathLike)) else lock
    return verify_plan(plan(model, config), known, weights=weights)


def diff(left: Any, right: Any, *, weights: bool = True) -> Differences:
    """What differs between two configs, or between two plans, in words.

    Args:
        left, right: both plans (from `plan`), or both what `plan` takes as a config.
        weights: of plans: whether the models' values are compared, too.

    Returns:
        `Differences`: ``same``, ``found``; ``print`` lists them.

    Raises:
        InitspecError: as `plan`.

    Example:
        >>> from initspec.models import Config
        >>> print(diff(Config(seed=1), Config(seed=2)))
        seed: 1 became 2
        1 difference in 4 compared

    Source: definition.
    """
    if isinstance(left, Plan) and isinstance(right, Plan):
        return diff_plans(left, right, weights=weights)
    if isinstance(left, Plan) or isinstance(right, Plan):
        raise InitspecTypeError(
            "left, right", (type(left), type(right)), "two plans, or two configs"
        )
    return diff_configs(resolve_config(left), resolve_config(right))
