"""Foreign initializers: those of frameworks, and a team's own, as subjects of the suite."""

from .adapters import adapt, load
from .outcomes import SIZE, outcomes
from .protocols import Foreign

__all__ = ["SIZE", "Foreign", "adapt", "load", "outcomes"]
