"""Locks: the digest of every logical tensor, the same in every framework.

A lock says what a config gives a model under a seed: path, logical shape, initializer, and the
SHA-256 of the float32 values in canonical order. It holds nothing of a framework, so that the locks
of ports are the same file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from initspec import files, stream
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import DTYPES

from .checking import KNOB, Checked, Finding, check_knobs, check_plan
from .plans import KEEP, WRITE, Plan, Row
from .weights import drawn_digest

__all__ = ["Lock", "Locked", "lock_plan", "read_lock", "verify_plan"]

FORMAT = 1
DIGEST = "digest"
_HEAD = "# The weights that a config gives, by digest. Written by `initspec lock`; do not edit.\n"


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One logical tensor.

    Attributes:
        path: canonical.
        shape: logical: stack, out, in, spatial.
        rule: the name of the rule that decided.
        init: the initializer as a plain table.
        std: of the values; 0 of a constant.
        sha256: of the float32 values in canonical order; empty where only their rounding is
            promised (orthogonal matrices, whose last bits depend on the machine).
    """

    path: str
    shape: tuple[int, ...]
    rule: str
    init: Mapping[str, Any]
    std: float
    sha256: str


@dataclass(frozen=True)
class Lock:
    """All logical tensors that a plan draws, by path, under one seed."""

    seed: int
    tensors: tuple[Locked, ...]
    stream: str = stream.VERSION

    def dumps(self) -> str:
        """As TOML; equal locks are equal texts."""
        head = f'{_HEAD}lock = {FORMAT}\nstream = "{self.stream}"\nseed = {self.seed}\n'
        return head + "".join(map(_table, self.tensors))

    def dump(self, path: str | Path) -> None:
        """Write the file, as a whole or not at all."""
        files.write(Path(path), self.dumps().encode(), "lock")


def _table(tensor: Locked) -> str:
    init = ", ".join(f"{name} = {json.dumps(value)}" for name, value in tensor.init.items())
    lines = (
        f"path = {json.dumps(tensor.path, ensure_ascii=False)}",
        f"shape = {json.dumps(list(tensor.shape))}",
        f"rule = {json.dumps(tensor.rule, ensure_ascii=False)}",
        f"init = {{ {init} }}",
        f"std = {tensor.std!r}",
        f'sha256 = "{tensor.sha256}"',
    )
    return "\n[[tensor]]\n" + "\n".join(lines) + "\n"


def lock_plan(plan: Plan) -> Lock:
    """The lock of a plan; draws every tensor once, one at a time.

    Raises:
        InitspecValueError: neither the config nor the call gives a seed.
    """
    if plan.seed is None:
        advice = "Put seed = ... into the config, or pass seed=."
        raise InitspecValueError(
            "seed", None, "a seed: a lock without one would lock nothing", advice
        )
    seed = stream.check_seed(plan.seed)
    locked = {row.path: _locked(row, seed) for row in _drawn(plan)}
    return Lock(seed, tuple(locked[path] for path in sorted(locked)))


def _drawn(plan: Plan) -> Iterator[Row]:
    """What every framework has: no counts, and no biases that only one of them adds."""
    seen = set()
    for row in plan.rows:
        if row.action == WRITE and row.stored.dtype in DTYPES and row.path not in seen:
            seen.add(row.path)
            yield row


def _locked(row: Row, seed: int) -> Locked:
    assert row.part is not None
    assert row.rule is not None
    assert row.initializer is not None
    assert row.law is not None
    return Locked(
        path=row.path,
        shape=tuple(row.part.geometry.counts),
        rule=row.rule.name,
        init={k: v for k, v in row.initializer.to_dict().items() if k != "initspec"},
        std=row.law.std,
        sha256=drawn_digest(row, stream.key(seed, row.path)) if row.exact else "",
    )


def read_lock(path: str | PathLike[str]) -> Lock:
    """Read a lock file.

    Raises:
        InitspecValueError: there is no such file, or it is no lock.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        advice = f"{error.strerror}. Make one with `initspec lock`."
        raise InitspecValueError("lock", str(path), "a lock file", advice) from error
    except ValueError as error:
        raise InitspecValueError("lock", str(path), f"a lock file ({error})") from error
    try:
        return _of_tree(tree)
    except (KeyError, TypeError, AttributeError, InitspecError) as error:
        advice = "Make it again with `initspec lock`."
        raise InitspecValueError("lock", str(path), f"a lock file ({error})", advice) from error


def _of_tree(tree: Any) -> Lock:
    if tree["lock"] != FORMAT:
        raise InitspecValueError("lock", tree["lock"], f"format {FORMAT}")
    if tree["stream"] != stream.VERSION:
        raise InitspecValueError("stream", tree["stream"], stream.VERSION, "Upgrade initspec.")
    tensors = tuple(
        Locked(
            path=each["path"],
            shape=tuple(each["shape"]),
            rule=each["rule"],
            init=dict(each["init"]),
            std=float(each["std"]),
            sha256=each["sha256"],
        )
        for each in tree.get("tensor", ())
    )
    paths = [tensor.path for tensor in tensors]
    if len(set(paths)) < len(paths):
        raise InitspecValueError("path", max(paths, key=paths.count), "every path once")
    return Lock(stream.check_seed(tree["seed"]), tensors)


def verify_plan(plan: Plan, lock: Lock, *, weights: bool = True) -> Checked:
    """Compare a plan, and the weights of its model, with a lock.

    Args:
        plan: of a model of any framework under the same config.
        lock: that was made of the plan, or of a port's.
        weights: whether the model has been initialised, and is to have these very values.

    Returns:
        `Checked`: what differs from the lock, and every tensor's weights. Where the plan has the
        lock's digests, weights that are the plan's to the last bit are the lock's.
    """
    if not isinstance(lock, Lock):
        raise InitspecTypeError("lock", lock, "a Lock, as from read_lock(path)")
    mine = Plan(plan.model, plan.config, lock.seed, plan.rows)
    fresh = {tensor.path: tensor for tensor in lock_plan(mine).tensors}
    known = {tensor.path: tensor for tensor in lock.tensors}
    config = [_same(path, known.get(path), fresh.get(path)) for path in sorted({*known, *fresh})]
    config += _same_seed(plan, lock)
    knobs = check_knobs(plan)
    if not weights:
        return Checked((*config, *knobs), ())
    rows = {row.path for row in plan.rows if row.action != KEEP}
    found = (each for each in check_plan(mine).findings if each.path in rows and each.kind != KNOB)
    return Checked((*(each for each in config if not each.passed), *found, *knobs), ())


def _same_seed(plan: Plan, lock: Lock) -> list[Finding]:
    if plan.seed in (None, lock.seed):
        return []
    message = f"the config's seed is {plan.seed}, the lock's {lock.seed}"
    return [Finding(path="seed", kind=DIGEST, passed=False, message=message)]


def _same(path: str, locked: Locked | None, fresh: Locked | None) -> Finding:
    message = _difference(locked, fresh)
    return Finding(path=path, kind=DIGEST, passed=not message, message=message)


def _difference(locked: Locked | None, fresh: Locked | None) -> str:
    if locked is None:
        return "is not in the lock"
    if fresh is None:
        return "is in the lock, and not in the model"
    if locked.shape != fresh.shape:
        return f"has the logical shape {fresh.shape}, {locked.shape} in the lock"
    if dict(locked.init) != dict(fresh.init):
        return f"is drawn by {dict(fresh.init)}, by {dict(locked.init)} in the lock"
    if locked.std != fresh.std:
        return f"has a std of {fresh.std:g}, {locked.std:g} in the lock"
    return "" if locked.sha256 == fresh.sha256 else "has another digest than in the lock"
