"""Write the lock of a config: the digest of every tensor that it gives a model.

Nothing of a framework is in the file, so that the ports of a model have the same. It is made from
the config and the shapes alone; the weights that the model has are not looked at.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from initspec import files
from initspec.models.config.reading import load
from initspec.models.locking import lock_plan

from .models import add_config, add_model, lock_file, make_model, make_plan, print_json, say

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec lock``."""
    add_config(parser)
    add_model(parser)
    add = parser.add_argument
    text = "the lock (default: CONFIG.lock.toml beside the config)"
    add("--output", type=Path, metavar="FILE", help=text)
    add("--json", action="store_true", help="print the lock as JSON, too")


def run(options: argparse.Namespace) -> int:
    """Draw, write the digests, say where."""
    config = load(options.config)
    plan = make_plan(config, make_model(options.model, options.arg), options.seed)
    lock = lock_plan(plan)
    output = options.output or lock_file(options.config)
    files.write(output, lock.dumps().encode(), "--output")
    if options.json:
        tensors = [asdict(tensor) for tensor in lock.tensors]
        facts = {"output": str(output), "seed": lock.seed, "stream": lock.stream}
        print_json({**facts, "tensors": tensors})
    else:
        say(f"{output}: {len(lock.tensors)} logical tensors, seed {lock.seed}")
    return 0
