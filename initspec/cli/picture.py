"""The histogram as a PNG file, with the extra ``plot``."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from pathlib import Path

from initspec import files
from initspec.description import Description
from initspec.errors import InitspecError

from .sample import Sample

__all__ = ["save"]


def save(path: Path, title: str, description: Description, sample: Sample) -> None:
    """Draw the picture, then put it in place in one step: the file is never half-written."""
    files.write(path, _png(title, description, sample), "--png")


def _png(title: str, description: Description, sample: Sample) -> bytes:
    try:
        figure = import_module("matplotlib.figure").Figure(layout="constrained")
    except ImportError as error:
        advice = "Try: pip install 'initspec[plot]'"
        raise InitspecError("--png", "matplotlib", "the extra 'plot'", advice) from error
    axes = figure.subplots()
    axes.stairs(*sample.histogram, fill=True, color="tab:blue", alpha=0.7)
    mean, std = description.mean, description.std
    for position, style in ((mean, "-"), (mean - std, "--"), (mean + std, "--")):
        axes.axvline(position, color="black", linestyle=style, linewidth=1)
    _, edges = sample.histogram
    reach = 1.2 * max(abs(edges[0]), abs(edges[-1]))
    for end in (description.low, description.high):
        if end is not None and abs(end) <= reach:  # a far one would squeeze the bars
            axes.axvline(end, color="tab:red", linewidth=1)
    axes.set(title=f"{title}\n{description.formula}", xlabel="value", ylabel="count")
    axes.title.set_wrap(True)
    data = BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
