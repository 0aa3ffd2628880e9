"""Print the JSON Schema of configs, for editors and validators."""

from __future__ import annotations

import argparse
from pathlib import Path

from initspec import files
from initspec.models.config.schema import schema_text

from .models import say

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec schema``."""
    text = "write it there instead"
    parser.add_argument("--output", type=Path, metavar="FILE", help=text)


def run(options: argparse.Namespace) -> int:
    """Print or write."""
    if options.output is None:
        print(schema_text(), end="")
        return 0
    files.write(options.output, schema_text().encode(), "--output")
    say(f"{options.output}: JSON Schema, draft 7")
    return 0
