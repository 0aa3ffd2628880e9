"""The config of a whole model as typed objects: the same tree as in TOML, YAML and JSON.

Every key is said once, by its field: kind, description, default. Reading, writing and the JSON
Schema follow from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any

from initspec.errors import InitspecTypeError
from initspec.models.slots import KINDS, ROLES
from initspec.stream import VERSION

from .kinds import (
    BAD,
    Choice,
    Flag,
    Form,
    Items,
    Many,
    Mapped,
    Number,
    Table,
    Whole,
    key,
)
from .problems import At, ConfigError, Place, Places, Problems
from .values import (
    CAPTURE,
    CLASS,
    COUNT,
    FRAMEWORK,
    GLOB,
    NAME,
    PATH,
    TEXT,
    VARIABLE,
    Axis,
    InitKind,
)

__all__ = [
    "FORMAT",
    "KNOBS",
    "PRESET",
    "Config",
    "Fused",
    "Match",
    "Rule",
    "Stacked",
    "Tensor",
]

FORMAT = 1
PRESET = "initspec:"
KNOBS = ("norm_epsilon", "batch_norm_momentum")


class _TensorKind(Table):
    """A tensor; plain text is its path."""

    def normal(self, value: Any) -> Any:
        return Tensor(path=value) if isinstance(value, str) else super().normal(value)

    def read(self, value: Any, at: At) -> Any:
        if isinstance(value, str):
            path = PATH.read(value, at)
            return BAD if path is BAD else Tensor(path=path)
        return super().read(value, at)

    def plain(self, value: Any) -> Any:
        plain = super().plain(value)
        only_path = isinstance(value, Tensor) and list(plain) == ["path"]
        return plain["path"] if only_path else plain

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [PATH.schema(), super().schema()]}


# --- the tree -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Match(Form):
    """What a rule applies to: every key must hold (AND), of a list any item (OR).

    >>> Match(role="kernel", layer=["conv", "depthwise"]).to_dict()
    {'role': 'kernel', 'layer': ['conv', 'depthwise']}
    """

    path: Any = field(
        default=(),
        metadata=key(Many(GLOB), "Globs over canonical paths; {i} captures a component."),
    )
    role: Any = field(
        default=(), metadata=key(Many(Choice(ROLES)), "What the tensor is for in its layer.")
    )
    layer: Any = field(
        default=(), metadata=key(Many(Choice(KINDS)), "The kind of layer that owns the tensor.")
    )
    exclude: Match | None = field(
        default=None,
        metadata=key(Table(lambda: Match), "What is left out, though all else holds.", name="not"),
    )


@dataclass(frozen=True)
class Rule(Form):
    """An initializer and the tensors that it is for; the first rule that matches decides.

    Args:
        name: unique, for messages and reports.
        match: all tensors if nothing is given; or short, as `Match`'s ``path``, ``role``,
            ``layer`` and ``exclude``.
        init: a recipe's name, a dictionary with ``type``, an `initspec.Initializer`, an `Init`, or
            ``"keep"``: the framework's own values stay.
        optional: it is no error if the rule decides nothing.
        source, line: where it stands, for messages.

    >>> Rule("embeddings", role="embedding", init={"type": "normal", "std": 0.02}).match.role
    ('embedding',)
    """

    name: str = field(metadata=key(TEXT, "A name of its own, for messages and reports."))
    _: KW_ONLY
    match: Match = field(
        default_factory=Match,
        metadata=key(Table(lambda: Match), "What it applies to; everything if empty."),
    )
    init: Any = field(
        metadata=key(InitKind(), "The initializer: a name, or a table with its type.")
    )
    optional: bool = field(
        default=False, metadata=key(Flag(), "It is no error if the rule decides nothing.")
    )
    source: str = field(default="", compare=False)
    line: int | None = field(default=None, compare=False)
    path: InitVar[Any] = None
    role: InitVar[Any] = None
    layer: InitVar[Any] = None
    exclude: InitVar[Match | None] = None

    def __post_init__(self, path: Any, role: Any, layer: Any, exclude: Match | None) -> None:
        super().__post_init__()
        short = {"path": path, "role": role, "layer": layer, "exclude": exclude}
        given = {name: value for name, value in short.items() if value is not None}
        if given and self.match != Match():
            raise InitspecTypeError("match", self.match, f"either match or {', '.join(given)}")
        if given:
            object.__setattr__(self, "match", Match(**given))


@dataclass(frozen=True, kw_only=True)
class Fused(Form):
    """An axis that holds several logical tensors beside each other; ``{part}`` in the path."""

    axis: Any = field(
        metadata=key(Axis(), "The axis of the stored tensor: its number, or by the layout.")
    )
    parts: Any = field(metadata=key(Items(TEXT), "The name of each part, in the order of storage."))
    sizes: Any = field(
        default=None,
        metadata=key(Items(COUNT), "Of the parts along the axis; equal ones if absent."),
    )


@dataclass(frozen=True, kw_only=True)
class Stacked(Form):
    """An axis along which whole layers are stacked (a scan); its index is captured."""

    axis: int = field(
        metadata=key(Whole("the number of an axis"), "The axis of the stored tensor.")
    )
    capture: str = field(metadata=key(CAPTURE, "What the path calls the index."))
    parts: Any = field(default=None, metadata=key(Items(TEXT), "Names instead of 0, 1, 2, ..."))


@dataclass(frozen=True, kw_only=True)
class Tensor(Form):
    """What a stored tensor holds. Without a ``layout`` it gets another path, role or kind only."""

    path: str | None = field(
        default=None, metadata=key(PATH, "The canonical path; captures of the name carry over.")
    )
    role: str | None = field(
        default=None, metadata=key(Choice(ROLES), "What the tensor is for in its layer.")
    )
    layer: str | None = field(default=None, metadata=key(Choice(KINDS), "The kind of its layer."))
    layout: str | None = field(
        default=None, metadata=key(TEXT, "One letter per axis: 'OI', 'HWIO', '(G O) I H W'.")
    )
    groups: int | None = field(default=None, metadata=key(COUNT, "Of a grouped convolution."))
    stride: Any = field(
        default=None, metadata=key(Many(COUNT, lone=True), "Of a transposed convolution.")
    )
    transposed: bool | None = field(
        default=None, metadata=key(Flag(), "Whether it is a transposed convolution.")
    )
    sizes: Any = field(
        default=None, metadata=key(Mapped(COUNT, TEXT), "Sizes of factors by letter: { G = 8 }.")
    )
    flip: bool = field(
        default=False, metadata=key(Flag(), "The kernel is applied with its spatial axes reversed.")
    )
    split: Fused | None = field(
        default=None, metadata=key(Table(lambda: Fused), "A fused axis; {part} in the path.")
    )
    stack: Stacked | None = field(
        default=None, metadata=key(Table(lambda: Stacked), "An axis of stacked layers.")
    )

    @property
    def named_role(self) -> str | None:
        """The role; where none is given, the last component of the path if that is one."""
        leaf = (self.path or "").rpartition("/")[2]
        return self.role or (leaf if leaf in ROLES else None)


_TENSOR = _TensorKind(lambda: Tensor)


@dataclass(frozen=True, kw_only=True)
class Config(Form):
    """How the weights of whole models begin, whatever their framework; checked as it is made.

    Args:
        initspec: version of the format.
        stream: the pinned algorithm; ``v1`` if not given.
        seed: in ``[0, 2**64)``.
        extends: presets (``initspec:base``) and files; what is said here goes first.
        unmatched: ``error`` if not given, ``keep``, ``warn``: for tensors that no rule matches.
        vars: names for numbers in formulas.
        rules: `Rule` objects; the first that matches decides.
        tie: canonical paths that stand for the tensor of another path.
        names: for each framework, its names and what they hold: a path or a `Tensor`.
        layers: for each class and attribute what it stores: a `Tensor`, or several.
        knobs: numbers that are no weights but change the function.
        source, places: the file, and where in it everything stands; for messages.

    Raises:
        ConfigError: with all problems.

    >>> config = Config(rules=[Rule("kernels", role="kernel", init="he_normal")])
    >>> config.to_dict()["rule"]
    [{'name': 'kernels', 'match': {'role': 'kernel'}, 'init': 'he_normal'}]
    """

    initspec: int = field(
        default=FORMAT, metadata=key(Choice((FORMAT,)), "Version of the format.", always=True)
    )
    stream: str | None = field(
        default=None, metadata=key(Choice((VERSION,)), "The algorithm; its bits never change.")
    )
    seed: int | None = field(
        default=None,
        metadata=key(
            Whole("a whole number from 0 to 2**64 - 1", low=0, end=2**64), "All values follow."
        ),
    )
    extends: Any = field(
        default=(),
        metadata=key(Many(TEXT), "Presets ('initspec:base') and files, for what is not here."),
    )
    unmatched: str | None = field(
        default=None,
        metadata=key(Choice(("error", "keep", "warn")), "What a tensor is that no rule matches."),
    )
    vars: Mapping[str, float] = field(
        default_factory=dict,
        metadata=key(Mapped(Number(), VARIABLE), "Names for numbers in formulas."),
    )
    rules: Any = field(
        default=(),
        metadata=key(
            Items(Table(lambda: Rule)), "Rules: the first that matches decides.", name="rule"
        ),
    )
    tie: Mapping[str, str] = field(
        default_factory=dict,
        metadata=key(
            Mapped(PATH, GLOB), "Canonical paths, each with the path it is one tensor with."
        ),
    )
    names: Mapping[str, Mapping[str, Tensor]] = field(
        default_factory=dict,
        metadata=key(
            Mapped(
                Mapped(_TENSOR, NAME),
                FRAMEWORK,
            ),
            "For each framework its names, and the canonical path (or more) of each.",
        ),
    )
    layers: Mapping[str, Mapping[str, tuple[Tensor, ...]]] = field(
        default_factory=dict,
        metadata=key(
            Mapped(Mapped(Many(_TENSOR), TEXT), CLASS),
            "For each class of layers its attributes, and what each stores.",
        ),
    )
    knobs: Mapping[str, float] = field(
        default_factory=dict,
        metadata=key(
            Mapped(Number(), Choice(KNOBS)), "Numbers that change the function, to be checked."
        ),
    )
    source: str = field(default="", compare=False)
    places: Places = field(default_factory=dict, compare=False, repr=False)
    bases: tuple[Config, ...] = field(default=(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        from .reading import read_tree  # noqa: PLC0415  which needs this module

        super().__post_init__()
        problems = Problems()
        checked = read_tree(self.to_dict(), At(problems, self.places or {(): (self.source, None)}))
        problems.raise_as(ConfigError)
        object.__setattr__(self, "bases", checked.bases)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Config:
        """The config of a plain tree; paths in ``extends`` are relative to the current folder.

        Raises:
            ConfigError: with all problems.
        """
        from .reading import read_tree  # noqa: PLC0415

        problems = Problems()
        config = read_tree(tree, At(problems))
        problems.raise_as(ConfigError)
        assert isinstance(config, Config)
        return config

    def place(self, *keys: str | int) -> Place:
        """File and line of a value: ``config.place("names", "torch", pattern)``."""
        return At(Problems(), self.places, keys).place

    def resolved(self) -> Config:
        """The same config without ``extends``, and with its defaults filled in.

        What a config says goes before what it extends, and that before what is extended later;
        a config that is extended on several ways comes once, after all that extend it. Rules of
        presets become optional. Where two rules have one name, the later one tells its source.
        """
        from .inheritance import flat  # noqa: PLC0415

        return flat(self)
