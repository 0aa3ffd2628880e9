"""Plans: for every logical tensor of a model the rule, the initializer and where it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from initspec import stream
from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean
from initspec.fans import RULES
from initspec.fill_plan import DTYPES, FillPlan
from initspec.initializer import Initializer
from initspec.law import Law

from .config.globs import Glob
from .model import Knob, Model, Piece, Stored, Write
from .slots import Part

if TYPE_CHECKING:
    from .config import Config, Rule

__all__ = ["KEEP", "PINNED", "WRITE", "Applied", "Plan", "Row", "piece", "writes"]

WRITE, KEEP, PINNED = "write", "keep", "pinned"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One logical tensor of a plan, or a stored tensor that is kept.

    Attributes:
        path: canonical.
        stored: the tensor that holds it.
        part: where it lies there; None for a tensor that is kept as a whole, unread.
        action: ``write``, ``keep``, or ``pinned`` to a value by its layer.
        rule, second: the rule that decides, and the one that would without it.
        initializer, law: what is written; None where nothing is.
        note: why, where no rule says it.
    """

    path: str
    stored: Stored
    part: Part | None = None
    action: str = KEEP
    rule: Rule | None = None
    second: Rule | None = None
    initializer: Initializer | None = None
    law: Law | None = None
    note: str = ""

    @property
    def fans(self) -> tuple[float, float] | None:
        """Fan-in and fan-out, of a tensor that has inputs."""
        if self.part is None or not self.part.geometry.input:
            return None
        found = RULES["true"](self.part.geometry)
        return found.fan_in, found.fan_out

    @property
    def exact(self) -> bool:
        """Whether every bit of what is written is promised: not of orthogonal matrices."""
        assert self.part is not None
        assert self.law is not None
        return FillPlan(self.part.geometry, self.law.content, ()).promise == "bits"

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values."""
        part = self.part
        return {
            "path": self.path,
            "stored_as": self.stored.name,
            "stored_shape": list(self.stored.shape),
            "dtype": self.stored.dtype,
            "layout": part.layout.pattern if part else None,
            "shape": list(part.logical_shape) if part else None,
            "role": part.role if part else None,
            "layer": part.kind if part else None,
            "fans": list(self.fans) if self.fans else None,
            "action": self.action,
            "rule": self.rule.name if self.rule else None,
            "second": self.second.name if self.second else None,
            "init": self.initializer.to_dict() if self.initializer else None,
            "std": self.law.std if self.law else None,
            "tied_from": (part.tied_from or None) if part else None,
            "trainable": self.stored.trainable,
            "note": self.note,
        }


@dataclass(frozen=True)
class Applied:
    """What `Plan.apply` did: the model (a new tree in JAX), the seed, and every row as done."""

    model: Any
    seed: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan:
    """What a config would do to a model; nothing has been written.

    ``rows`` are all logical tensors and all kept ones, in the model's order.
    """

    model: Model
    config: Config
    seed: int | None
    rows: tuple[Row, ...]

    def apply(self, *, only: str | Iterable[str] = (), skip: str | Iterable[str] = ()) -> Applied:
        """Write the model's weights; everything is checked before the first is written.

        Args:
            only: globs of canonical paths: nothing else is touched.
            skip: globs of canonical paths that stay as they are.

        Returns:
            `Applied`: the model, the seed (a fresh one if there was none) and the rows, those that
            were left out with the action ``keep``.

        Raises:
            InitspecError: a glob that matches nothing; a tensor that cannot be written.
        """
        seed = stream.check_seed(_fresh_seed() if self.seed is None else self.seed)
        rows = tuple(_selected(self.rows, _globs("only", only), _globs("skip", skip)))
        return Applied(self.model.write(writes(rows, seed)), seed, rows)

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The model's knobs, each at the canonical path of its layer."""
        parts = (row.part for row in self.rows if row.part is not None)
        moved = {_layer(part.unnamed): _layer(part.path) for part in parts if not part.tied_from}
        return tuple(replace(k, path=moved.get(k.path, k.path)) for k in self.model.knobs())

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {"seed": self.seed, "rows": [row.to_dict() for row in self.rows]}

    def __str__(self) -> str:
        from .tables import plan_table  # noqa: PLC0415

        return plan_table(self)


def _layer(path: str) -> str:
    return path.rpartition("/")[0]


def _fresh_seed() -> int:
    import secrets  # noqa: PLC0415

    return secrets.randbits(64)


def _globs(name: str, given: str | Iterable[str]) -> list[Glob]:
    if not isinstance(given, Iterable):
        raise InitspecTypeError(name, given, "a glob of canonical paths, or several")
    return [Glob.parse(text, name) for text in ([given] if isinstance(given, str) else given)]


def _selected(rows: Sequence[Row], only: list[Glob], skip: list[Glob]) -> Iterator[Row]:
    for name, globs in (("only", only), ("skip", skip)):
        for glob in globs:
            if not any(glob.match(row.path) is not None for row in rows):
                known = [row.path for row in rows]
                expected = "a glob that matches a parameter"
                raise InitspecValueError(name, glob.text, expected, did_you_mean(glob.text, known))
    for row in rows:
        left = any(glob.match(row.path) is not None for glob in skip)
        left |= bool(only) and not any(glob.match(row.path) is not None for glob in only)
        yield _kept(row, "left out") if left else row


def _kept(row: Row, note: str) -> Row:
    return Row(path=row.path, stored=row.stored, part=row.part, rule=row.rule, note=note)


def writes(rows: Iterable[Row], seed: int) -> list[Write]:
    """What a model is asked to write, stored tensor by stored tensor."""
    pieces: dict[str, tuple[Stored, list[Piece]]] = {}
    keys: dict[str, stream.Key] = {}
    for row in rows:
        if row.action == KEEP or row.part is None:
            continue
        if row.path not in keys:
            keys[row.path] = stream.key(seed, row.path)
        _, found = pieces.setdefault(row.stored.name, (row.stored, []))
        found.append(piece(row, keys[row.path]))
    return [Write(stored, tuple(found)) for stored, found in pieces.values()]


def piece(row: Row, key: stream.Key) -> Piece:
    """What is written for a row."""
    assert row.part is not None
    assert row.law is not None
    if row.stored.dtype not in DTYPES:
        return Piece(row.part, None, row.law.mean)
    return Piece(row.part, FillPlan(row.part.geometry, row.law.content, (key,)))
