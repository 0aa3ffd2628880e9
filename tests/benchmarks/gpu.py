"""The GPU against torch's and JAX's own generators: ``python tests/benchmarks/gpu.py > report.md``.

First it checks that all paths give the bits of the CPU, then it measures. The exit code is 1 if a
bit differs or a target is missed, 2 without a GPU. ``--device cpu --quick`` only shows that the
program runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import initspec
from initspec_torch import backend, device, integer

Call = Callable[[], object]
Shape = tuple[int, ...]

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
NORMAL = initspec.variance_scaling(scale=2.0, mode="fan_in", distribution="normal")
INITIALIZERS = {
    "normal": NORMAL,
    "truncated normal": initspec.he_normal,
    "uniform": initspec.he_uniform,
    "normal with mean": initspec.normal(0.5, mean=2.0),
    "constant": initspec.constant(0.1),
    "sparse": initspec.sparse(0.25),
    "orthogonal": initspec.orthogonal(),
}
LAYOUTS: dict[str, Shape] = {
    "OI": (257, 1031),
    "IO": (1024, 512),
    "OIHW": (64, 3, 3, 3),
    "HWIO": (3, 3, 40, 129),
    "OIDHW": (6, 5, 2, 3, 4),
    "SOI": (4, 33, 27),
}
SHAPES: dict[str, tuple[str, Shape]] = {
    "4096x4096 OI": ("OI", (4096, 4096)),
    "4096x4096 IO": ("IO", (4096, 4096)),
    "50257x768 embedding": ("OI", (50257, 768)),
    "512x512x3x3 OIHW": ("OIHW", (512, 512, 3, 3)),
    "3x3x512x512 HWIO": ("HWIO", (3, 3, 512, 512)),
    "16384 rows of 27": ("OIHW", (16384, 3, 3, 3)),
    "64x64": ("OI", (64, 64)),
}
HEAD = ("what", "initspec µs", "G values/s", "GB/s", "peer", "peer µs", "ratio", "target", "met")


# --- bits ---------------------------------------------------------------------------------------


def differences(where: str, quick: bool) -> Iterator[str]:
    """Whatever is not as on the CPU, by name; nothing, if all is well."""
    for pattern, shape in list(LAYOUTS.items())[-1 if quick else None :]:
        for name, init in INITIALIZERS.items():
            for dtype in DTYPES:
                if not agrees(init, pattern, shape, dtype, where):
                    yield f"{name}, {pattern} {shape}, {dtype}"


def agrees(init: Any, pattern: str, shape: Shape, dtype: torch.dtype, where: str) -> bool:
    """Whether a new tensor, one of the opposite memory order and one by operators are equal."""
    given = {"layout": pattern, "seed": 5, "name": "w"}
    host = init(shape, backend="torch", dtype=dtype, device="cpu", **given)
    made = [init(shape, backend="torch", dtype=dtype, device=where, **given)]
    turned = torch.empty(shape[::-1], dtype=dtype, device=where)
    made.append(init(out=turned.permute(tuple(reversed(range(len(shape))))), **given))
    plan = backend.plan(init, shape, str(dtype)[6:], {"layout": pattern}, 5, "w")
    if plan.draw is not None:
        made.append(torch.empty(shape, dtype=dtype, device=where))
        integer.fill(plan, plan.draw, made[-1])
    return all(torch.equal(each.cpu(), host) for each in made)


# --- speed --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Two sides, and how many times as fast as the peer we have to be."""

    what: str
    ours: Call
    peer: str
    theirs: Call
    tensor: Any
    target: float | None = None

    def row(self, wait: Call, rounds: int) -> tuple[str, bool]:
        """A line of the table: medians of rounds that alternate; and whether the target is met."""
        times = [timed(call, wait) for _ in range(rounds) for call in (self.ours, self.theirs)]
        ours, theirs = statistics.median(times[::2]), statistics.median(times[1::2])
        values, ratio = self.tensor.nbytes // self.tensor.dtype.itemsize, theirs / ours
        met = self.target is None or ratio >= self.target
        cells = [self.what, f"{ours * 1e6:.1f}", f"{values / ours / 1e9:.2f}"]
        cells += [f"{self.tensor.nbytes / ours / 1e9:.1f}", self.peer, f"{theirs * 1e6:.1f}"]
        cells += [f"{ratio:.2f}", "" if self.target is None else f"{self.target:g}"]
        return line(*cells, "" if self.target is None else "yes" if met else "**no**"), met


def timed(call: Call, wait: Call) -> float:
    """Seconds of one call, from as many as take ten milliseconds; the first is not counted."""
    call()
    wait()
    calls, seconds = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        seconds = time.perf_counter() - start
        if seconds >= 0.01:
            return seconds / calls
        calls *= 2


def torch_cases(where: str, quick: bool) -> Iterator[Case]:
    """In place, fresh, and by operators."""
    truncated = partial(torch.nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04)
    peers = {"normal": torch.Tensor.normal_, "uniform": torch.Tensor.uniform_}
    for what, (pattern, shape) in list(SHAPES.items())[-1 if quick else None :]:
        for dtype in (torch.float32, torch.bfloat16):
            out = torch.empty(shape, dtype=dtype, device=where)
            for name, peer in {**peers, "truncated normal": truncated}.items():
                ours = partial(INITIALIZERS[name].bind("torch", layout=pattern), out)
                target = 1.0 if name == "normal" and out.numel() > 10**6 else None
                label = f"in place, {name}, {what}, {str(dtype)[6:]}"
                yield Case(label, ours, name_of(peer), partial(peer, out), out, target)
    what = "64x64" if quick else "4096x4096 OI"
    pattern, shape = SHAPES[what]
    out = torch.empty(shape, device=where)
    fresh = partial(NORMAL, shape, backend="torch", device=where)
    kaiming = torch.nn.init.kaiming_normal_
    peer = "kaiming_normal_(torch.empty)"
    yield Case(f"fresh, normal, {what}", fresh, peer, lambda: kaiming(torch.empty_like(out)), out)
    plan = backend.plan(NORMAL, shape, "float32", {"layout": pattern}, 5, "w")
    ours = partial(integer.fill, plan, plan.content, out)
    yield Case(f"in place, integer operators, {what}", ours, "normal_", out.normal_, out)


def name_of(call: Any) -> str:
    """How a function is called, without what is given to it."""
    return str(getattr(call, "func", call).__name__)


def jax_cases(quick: bool) -> Iterator[Case]:
    """Under jit, where JAX sees a GPU."""
    jax = importlib.import_module("jax")
    if not quick:
        jax.devices("gpu")  # or it raises
    shape = SHAPES["64x64" if quick else "4096x4096 OI"][1]
    init, key = NORMAL.bind("jax"), jax.random.key(0)
    ours = jax.jit(lambda key: init(key, shape))
    theirs = jax.jit(lambda key: jax.random.normal(key, shape))
    yield Case(
        f"jax, normal, {shape}",
        lambda: ours(key).block_until_ready(),
        "jax.random.normal",
        lambda: theirs(key).block_until_ready(),
        ours(key),
        None if quick else 2.0,
    )


# --- report -------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser("gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="little, and no targets")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU that torch can use.", file=sys.stderr)
        return 2
    print(f"# initspec on {options.device}\n")
    print(*machine(options.device), sep="\n")
    wrong = list(differences(options.device, options.quick))
    print("\n## Bits\n")
    print(*(wrong or ["All tensors equal those of the CPU, bit for bit."]), sep="\n")
    print("\n## Speed\n")
    print(line(*HEAD), line(*("---" for _ in HEAD)), sep="\n")
    met = [*rows(options.device, options.quick)]
    return int(bool(wrong) or not all(met))


def rows(where: str, quick: bool) -> Iterator[bool]:
    """Print the table, and tell for every line whether its target is met."""
    wait = torch.cuda.synchronize if where.startswith("cuda") else lambda: None
    rounds = 3 if quick else 9
    for case in torch_cases(where, quick):
        text, met = case.row(wait, rounds)
        print(text, flush=True)
        yield met
    try:
        for case in jax_cases(quick):
            text, met = case.row(lambda: None, rounds)
            print(text, flush=True)
            yield met
    except (ImportError, RuntimeError) as error:
        print(f"\nJAX was not measured: {str(error).partition(chr(10))[0]}")


def machine(where: str) -> Iterator[str]:
    """On what it ran, without a name."""
    if where.startswith("cuda"):
        facts = torch.cuda.get_device_properties(where)
        yield f"* {facts.name}, {facts.multi_processor_count} multiprocessors"
        yield f"* CUDA {torch.version.cuda}, ROCm {torch.version.hip}"
    yield f"* Python {platform.python_version()}, torch {torch.__version__}"
    taken = device.path(torch.empty(0, device=where).device)
    yield f"* path: {taken.name}, {taken.reason}"
    if where.startswith("cuda"):
        yield f"* a draw of 256 MiB takes {extra(where) / 2**20:.1f} MiB beside the tensor"


def extra(where: str) -> int:
    """Bytes beside the tensor at the peak of a draw."""
    out = torch.empty(2**13, 2**13, device=where)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    NORMAL.bind("torch")(out)
    return int(torch.cuda.max_memory_allocated() - before)


def line(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU is shared
    sys.exit(main())
