"""What an initializer would do to a shape, in numbers, without doing it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .fans import RULES
from .fill_plan import FillPlan
from .law import law
from .layout import Geometry

if TYPE_CHECKING:
    from .initializer import Initializer

__all__ = ["Description", "describe"]


@dataclass(frozen=True, slots=True)
class Description:
    """Fans, moments, support and formula of an initializer on one shape.

    ``low`` and ``high`` are None where unbounded; ``kurtosis`` is None for a constant; ``promise``
    is ``bits`` (equal everywhere) or ``rounded`` (equal up to a factorisation's last bits).
    """

    shape: tuple[int, ...]
    layout: str
    fan_in: int | float
    fan_out: int | float
    mean: float
    std: float
    low: float | None
    high: float | None
    kurtosis: float | None
    formula: str
    promise: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        ends = [f"{end:.6g}" if end is not None else "inf" for end in (self.low, self.high)]
        support = f"[{'-' if self.low is None else ''}{ends[0]}, {ends[1]}]"
        kurtosis = "none" if self.kurtosis is None else f"{self.kurtosis:.4f}"
        rows = {
            "shape": f"{self.shape} as {self.layout}",
            "fans": f"fan_in {self.fan_in:.10g}, fan_out {self.fan_out:.10g}",
            "formula": self.formula,
            "mean, std": f"{self.mean:.6g}, {self.std:.6g}",
            "support": support,
            "kurtosis": kurtosis,
            "promise": self.promise,
        }
        return "\n".join(f"{name:<10} {text}" for name, text in rows.items())


def describe(init: Initializer, geometry: Geometry) -> Description:
    """Describe an initializer on a geometry."""
    fans, facts = RULES[init.fan_rule](geometry), law(init, geometry)
    return Description(
        geometry.shape,
        geometry.layout.pattern,
        fans.fan_in,
        fans.fan_out,
        facts.mean,
        facts.std,
        facts.low,
        facts.high,
        facts.kurtosis,
        facts.formula,
        FillPlan(geometry, facts.content, ()).promise,
    )
