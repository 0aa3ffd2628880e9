"""What is compared with what, and the figure to reach: data.

Ratios of rates are speed-ups, at least the target; ratios of costs are at most the target. All
sides of a case are measured in one process, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from . import contenders as side
from .contenders import Spec
from .measure import Call, Case, Contender, Rival, Setting, reported, timed
from .probe import first_call, memory_above, memory_beside

__all__ = ["CASES", "SECTIONS"]

SECTIONS = {
    "In place": "Into a tensor that is there, its pages touched, all cores. JAX and Keras have no "
    "such call: beside them stands their new tensor. NumPy's generator gives standard values, so "
    "the peer multiplies by no scale.",
    "Fresh": "A new tensor on each side, all cores; the one before has been freed.",
    "One core": "The whole process on one core.",
    "Instruction sets": "The same kernel on other instructions (`INITSPEC_ISA`), in place, all "
    "cores; the last rows are the NumPy reference (`INITSPEC_KERNEL=off`).",
    "Bare words": "Normals against the Philox words that they are made of, in place, one core.",
    "Memory orders": "Initspec against itself, in place: other memory orders and short rows "
    "against 4096x4096 OI, with about as many values.",
    "Small tensors": "Microseconds of one call for 64x64, in a loop over many tensors; the ratio "
    "is a cost.",
    "Compilers": "Inside the frameworks' compilers, all cores.",
    "Compile time": "Tracing and compiling `he_normal` of 1024x1024 in a fresh process; the ratio "
    "is a cost.",
    "Orthogonal": "Semi-orthogonal matrices, all cores.",
    "Whole models": "GPT-2 of 124 M parameters in torch: `initspec.apply` with the preset, from "
    "the file to the last weight, against transformers' own `_init_weights` on each module. "
    "AnyInit initialises models: two linear layers and a ReLU in torch. Beside the draw it works "
    "out the scales, for which initspec is given a recipe.",
    "Memory": "Peak beside the tensor itself, in a fresh process.",
    "Import": "`import initspec` on top of `import numpy`, in a fresh process, without a framework "
    "coming along.",
}

NORMAL, TRUNCATED, UNIFORM = "torch.kaiming_normal", "he_normal", "he_uniform"
CUT = {"distribution": "truncated_normal", "std": 0.02, "low": -2.0, "high": 2.0}
PLAIN = {"distribution": "normal", "std": 0.02}
OI, IO = Spec((4096, 4096), "OI"), Spec((4096, 4096), "IO")
OIHW, HWIO = Spec((512, 512, 3, 3), "OIHW"), Spec((3, 3, 512, 512), "HWIO")
ROWS = Spec((65536, 3, 3, 3), "OIHW")
# As many values as 4096x4096 has: what comes back to a small tensor finds it gone from the caches.
WIDE_OIHW, WIDE_HWIO = Spec((1365, 1365, 3, 3), "OIHW"), Spec((3, 3, 1365, 1365), "HWIO")
WIDE_ROWS = Spec((621378, 3, 3, 3), "OIHW")
EMBEDDING = Spec((50257, 768), "VO")
SMALL_OI, SMALL_IO = Spec((64, 64), "OI"), Spec((64, 64), "IO")
HUGE_OI, HUGE_IO = Spec((8192, 16384), "OI"), Spec((8192, 16384), "IO")
ALL, ONE = Setting(), Setting(cores=1)

Maker = Callable[..., Call]
_GPT2 = 124_439_808  # parameters
_NAMES = {str(CUT): "truncated_normal(0.02)", str(PLAIN): "normal(0.02)"}


def half(spec: Spec) -> Spec:
    """The same in bfloat16."""
    return replace(spec, dtype="bfloat16")


def ours(make: Maker, *arguments: object) -> Contender:
    """Our side."""
    return Contender("initspec", make, ("initspec", *arguments))


def torch(name: str, spec: Spec, target: float | None = None, make: Maker | None = None) -> Rival:
    """A function of torch.nn.init, in place unless said otherwise."""
    make = make or side.torch_in_place
    return Rival(Contender(f"torch `{name}`", make, ("torch", name, spec)), target)


def numpy(name: str, spec: Spec, make: Maker, *more: object) -> Rival:
    """A method of NumPy's Generator."""
    return Rival(Contender(f"NumPy `{name}`", make, ("numpy", name, spec, *more)))


def jax(name: str, spec: Spec, target: float | None = None, make: Maker = side.jax_jitted) -> Rival:
    """A function of jax.nn.initializers, compiled unless said otherwise."""
    how = "eager" if make is side.jax_eager else "jitted"
    return Rival(Contender(f"JAX `{name}`, {how}", make, ("jax", name, spec)), target)


def keras(name: str, spec: Spec, target: float | None = None) -> Rival:
    """An initializer of Keras on TensorFlow."""
    contender = Contender(f"Keras `{name}`", side.keras_eager, ("keras", name, spec))
    return Rival(contender, target)


def rate(section: str, what: str, made: Contender, spec: Spec, *rivals: Rival, **more: Any) -> Case:
    """Values per second."""
    return Case(section, what, made, rivals, timed, size=spec.size, **more)


def text(recipe: object, spec: Spec) -> str:
    """How a draw is called in the report."""
    return f"`{_NAMES.get(str(recipe), recipe)}`, {spec}"


# --- in place -----------------------------------------------------------------------------------


def in_place() -> Iterable[Case]:
    """What `torch.nn.init` does, and NumPy's ``out=``."""

    def case(recipe: str | Mapping[str, Any], spec: Spec, *rivals: Rival) -> Case:
        made = ours(side.torch_in_place, recipe, spec)
        return rate("In place", f"torch, {text(recipe, spec)}", made, spec, *rivals)

    for spec in (OI, IO):
        for recipe in (NORMAL, TRUNCATED):
            normals = torch("kaiming_normal_", spec, 7), torch("trunc_normal_", spec, 60)
            compiled = jax("he_normal", spec, 14), keras("HeNormal", spec, 15)
            yield case(recipe, spec, *normals, *compiled)
        uniforms = jax("he_uniform", spec), keras("HeUniform", spec)
        yield case(UNIFORM, spec, torch("kaiming_uniform_", spec, 9), *uniforms)
        yield case(NORMAL, half(spec), torch("normal_", half(spec), 7))
    yield case(CUT, OI, torch("trunc_normal_", OI, 60))
    yield case(UNIFORM, half(OI), torch("kaiming_uniform_", half(OI)))
    for spec in (EMBEDDING, half(EMBEDDING)):
        yield case(PLAIN, spec, torch("normal_", spec))
    for spec in (OIHW, half(OIHW), ROWS, half(ROWS)):
        yield case(NORMAL, spec, torch("kaiming_normal_", spec))
    yield case(TRUNCATED, HWIO, jax("he_normal", HWIO), keras("HeNormal", HWIO))
    yield case(TRUNCATED, half(HWIO), jax("he_normal", half(HWIO)), keras("HeNormal", half(HWIO)))
    for recipe, name in ((NORMAL, "standard_normal"), (UNIFORM, "random")):
        made = ours(side.numpy_in_place, recipe, IO)
        rival = numpy(name, IO, side.numpy_in_place)
        yield rate("In place", f"NumPy, {text(recipe, IO)}", made, IO, rival)


# --- fresh --------------------------------------------------------------------------------------


def fresh() -> Iterable[Case]:
    """New tensors in every framework."""

    def case(
        framework: str, make: Maker, recipe: str | Mapping[str, Any], spec: Spec, *rivals: Rival
    ) -> Case:
        what = f"{framework}, {text(recipe, spec)}"
        return rate("Fresh", what, ours(make, recipe, spec), spec, *rivals)

    for spec, target in ((OI, 5), (IO, 5), (half(OI), None), (OIHW, None), (ROWS, None)):
        rival = torch("kaiming_normal_", spec, target, side.torch_fresh)
        yield case("torch", side.torch_fresh, NORMAL, spec, rival)
    rival = torch("kaiming_uniform_", OI, None, side.torch_fresh)
    yield case("torch", side.torch_fresh, UNIFORM, OI, rival)
    rival = torch("normal_", EMBEDDING, None, side.torch_fresh)
    yield case("torch", side.torch_fresh, PLAIN, EMBEDDING, rival)
    for recipe, name in ((NORMAL, "standard_normal"), (UNIFORM, "random")):
        rival = numpy(name, IO, side.numpy_fresh)
        yield case("NumPy", side.numpy_fresh, recipe, IO, rival)
    normal, uniform = (TRUNCATED, "he_normal", "HeNormal"), (UNIFORM, "he_uniform", "HeUniform")
    draws = ((*normal, IO), (*uniform, IO), (*normal, half(IO)), (*normal, HWIO))
    for recipe, in_jax, in_keras, spec in draws:
        both = jax(in_jax, spec, make=side.jax_eager), jax(in_jax, spec)
        yield case("JAX", side.jax_eager, recipe, spec, *both)
        yield case("Keras", side.keras_eager, recipe, spec, keras(in_keras, spec))
    yield case("TensorFlow", side.tensorflow_eager, TRUNCATED, IO, keras("HeNormal", IO))


# --- one core, instruction sets, memory orders --------------------------------------------------


def one_core() -> Iterable[Case]:
    """A part of the above on one core."""

    def case(recipe: str, spec: Spec, *rivals: Rival) -> Case:
        what = f"in place, {text(recipe, spec)}"
        made = ours(side.torch_in_place, recipe, spec)
        return rate("One core", what, made, spec, *rivals, setting=ONE)

    for spec in (OI, IO):
        yield case(NORMAL, spec, torch("kaiming_normal_", spec))
    yield case(TRUNCATED, OI, torch("kaiming_normal_", OI), jax("he_normal", OI))
    yield case(UNIFORM, OI, torch("kaiming_uniform_", OI), keras("HeUniform", OI))
    yield case(NORMAL, half(OI), torch("normal_", half(OI)))
    made = ours(side.torch_fresh, NORMAL, OI)
    rival = torch("kaiming_normal_", OI, None, side.torch_fresh)
    yield rate("One core", f"fresh, {text(NORMAL, OI)}", made, OI, rival, setting=ONE)


_TARGETS = {"avx512": None, "avx2": 5, "portable": 1.5}


def instruction_sets() -> Iterable[Case]:
    """Each forced; and none, which is the reference."""
    settings = [(Setting(isa=isa), isa, target) for isa, target in _TARGETS.items()]
    settings.append((Setting(kernel="off"), "kernel off", None))
    for setting, name, target in settings:
        for recipe, spec in ((NORMAL, OI), (NORMAL, IO), (TRUNCATED, OI)):
            made = ours(side.torch_in_place, recipe, spec)
            rival = torch("kaiming_normal_", spec, target)
            what = f"{name}, {text(recipe, spec)}"
            yield rate("Instruction sets", what, made, spec, rival, setting=setting)


def bare_words() -> Iterable[Case]:
    """Each instruction set forced."""
    for isa in _TARGETS:
        setting = Setting(cores=1, isa=isa)
        for spec in (OI, IO):
            made = ours(side.numpy_in_place, NORMAL, spec)
            rival = Rival(Contender("Philox words", side.words, (spec,)), 0.6)
            what = f"{isa}, {text(NORMAL, spec)}"
            yield rate("Bare words", what, made, spec, rival, setting=setting)


def memory_orders() -> Iterable[Case]:
    """What a memory order costs; of two sizes, the rate counts."""
    for setting, name in ((ALL, "all cores"), (ONE, "one core")):
        for spec in (IO, WIDE_HWIO, WIDE_OIHW, WIDE_ROWS, EMBEDDING):
            made = ours(side.torch_in_place, PLAIN, spec)
            base = Contender("4096x4096 OI", side.torch_in_place, ("initspec", PLAIN, OI))
            what = f"{name}, {text(PLAIN, spec)}"
            rival = Rival(base, None if spec is EMBEDDING else 0.7, OI.size)
            yield rate("Memory orders", what, made, spec, rival, setting=setting)


# --- small tensors ------------------------------------------------------------------------------

_MANY, _SOME = 2048, 256  # eager JAX and Keras take a fraction of a millisecond


def small() -> Iterable[Case]:
    """What a call costs."""

    def case(what: str, made: Contender, number: int, *rivals: Rival) -> Case:
        more: dict[str, Any] = {"unit": "µs", "size": number}
        return Case("Small tensors", what, made, rivals, timed, **more)

    for named, what in ((False, "as the peer is called"), (True, "with seed and name")):
        call = ("torch", "kaiming_normal_", SMALL_OI, _MANY, False)
        rival = Rival(Contender("torch `kaiming_normal_`", side.torch_small, call), 3)
        made = ours(side.torch_small, NORMAL, SMALL_OI, _MANY, named)
        yield case(f"torch, in place, {what}", made, _MANY, rival)
    made = ours(side.numpy_small, TRUNCATED, SMALL_IO, _MANY)
    rival = numpy("standard_normal", SMALL_IO, side.numpy_small, _MANY)
    yield case("NumPy, with seed and name", made, _MANY, Rival(None, 25), rival)
    for jitted, what in ((False, "eager"), (True, "jitted")):
        made = ours(side.jax_small, TRUNCATED, SMALL_IO, _SOME, jitted)
        given = ("jax", "he_normal", SMALL_IO, _SOME, jitted)
        rival = Rival(Contender(f"JAX `he_normal`, {what}", side.jax_small, given))
        yield case(f"JAX, {what}", made, _SOME, rival)
    for what, make in (("Keras", side.keras_small), ("TensorFlow", side.tensorflow_small)):
        args = ("keras", "HeNormal", SMALL_IO, _SOME)
        rival = Rival(Contender("Keras `HeNormal`", side.keras_small, args))
        yield case(what, ours(make, TRUNCATED, SMALL_IO, _SOME), _SOME, rival)


# --- compilers, matrices, models ----------------------------------------------------------------


def compilers() -> Iterable[Case]:
    """Running what a compiler made of it."""
    for spec in (Spec((1024, 1024), "IO"), IO):
        made = ours(side.jax_jitted, TRUNCATED, spec)
        what = f"jax.jit, {text(TRUNCATED, spec)}"
        yield rate("Compilers", what, made, spec, jax("he_normal", spec, 1))
    for xla, name in ((False, "tf.function"), (True, "tf.function with XLA")):
        given = ("keras", "HeNormal", IO, xla)
        peer = Contender("Keras `HeNormal`, same", side.keras_graph, given)
        made = ours(side.keras_graph, TRUNCATED, IO, xla)
        yield rate("Compilers", f"{name}, {text(TRUNCATED, IO)}", made, IO, Rival(peer))
    made = ours(side.torch_compiled, NORMAL, OI)
    rival = torch("kaiming_normal_", OI, None, side.torch_compiled)
    yield rate("Compilers", f"torch.compile, in place, {text(NORMAL, OI)}", made, OI, rival)


def compile_time() -> Iterable[Case]:
    """In fresh processes, for JAX keeps what it has compiled."""
    spec = Spec((1024, 1024), "IO")
    rival = jax("he_normal", spec, 1.5, side.jax_compiling)
    made = ours(side.jax_compiling, TRUNCATED, spec)
    yield Case("Compile time", "jax.jit", made, (rival,), first_call, unit="ms", warm=False)


def orthogonal() -> Iterable[Case]:
    """Tall, wide, square and a convolution."""
    for shape in ((1024, 1024), (2048, 512), (512, 2048), (256, 256, 3, 3)):
        spec = Spec(shape, "OI" if len(shape) == 2 else "OIHW")
        made = ours(side.torch_in_place, "orthogonal", spec)
        rival = torch("orthogonal_", spec, 1)
        yield rate("Orthogonal", f"torch, in place, {spec}", made, spec, rival)
    spec = Spec((1024, 1024), "IO")
    rival = jax("orthogonal", spec, make=side.jax_eager)
    yield rate("Orthogonal", f"JAX, {spec}", ours(side.jax_eager, "orthogonal", spec), spec, rival)


def models() -> Iterable[Case]:
    """Peers that take models."""
    peer = Contender("transformers `_init_weights`", side.gpt2, ("transformers", _GPT2))
    made = ours(side.gpt2, _GPT2)
    yield Case("Whole models", "GPT-2, torch", made, (Rival(peer, 4),), timed, size=_GPT2)
    width = 2048
    made = ours(side.anyinit_model, NORMAL, width)
    peer = Contender("AnyInit `initialize`", side.anyinit_model, ("anyinit", "initialize", width))
    size = 2 * width * width
    yield Case("Whole models", f"{width}-{width}-{width}", made, (Rival(peer),), timed, size=size)


# --- memory and import --------------------------------------------------------------------------


def memory() -> Iterable[Case]:
    """In place and fresh, of half a gibibyte."""
    allowed = Rival(None, 8)
    more: dict[str, Any] = {"unit": "MiB", "least": 2, "warm": False}

    def case(what: str, make: Maker, recipe: str, spec: Spec, *rivals: Rival) -> Case:
        take = memory_beside if make in (side.torch_in_place, side.numpy_in_place) else memory_above
        made = ours(make, recipe, spec)
        return Case(
            "Memory", f"{what}, {text(recipe, spec)}", made, (allowed, *rivals), take, **more
        )

    gpt2 = ours(side.gpt2, _GPT2)
    yield Case("Memory", "GPT-2, torch, in place", gpt2, (Rival(None, 16),), memory_beside, **more)
    place, new = side.torch_in_place, side.torch_fresh
    yield case("torch in place", place, NORMAL, HUGE_OI, torch("kaiming_normal_", HUGE_OI))
    yield case("torch in place", place, NORMAL, half(HUGE_OI))
    yield case("torch in place", place, TRUNCATED, HUGE_IO, torch("trunc_normal_", HUGE_IO))
    yield case("NumPy in place", side.numpy_in_place, UNIFORM, HUGE_IO)
    yield case("torch", new, NORMAL, HUGE_OI, torch("kaiming_normal_", HUGE_OI, None, new))
    rival = numpy("standard_normal", HUGE_IO, side.numpy_fresh)
    yield case("NumPy", side.numpy_fresh, NORMAL, HUGE_IO, rival)
    rival = jax("he_normal", HUGE_IO, make=side.jax_eager)
    yield case("JAX", side.jax_eager, TRUNCATED, HUGE_IO, rival)
    yield case("Keras", side.keras_eager, TRUNCATED, HUGE_IO, keras("HeNormal", HUGE_IO))
    yield case("TensorFlow", side.tensorflow_eager, TRUNCATED, half(HUGE_IO))


def importing() -> Iterable[Case]:
    """Our modules, and nobody else's."""
    made = Contender("initspec", side.importing, ("initspec",))
    yield Case("Import", "initspec", made, (Rival(),), reported, unit="ms", least=11)


CASES: tuple[Case, ...] = (
    *in_place(),
    *fresh(),
    *one_core(),
    *instruction_sets(),
    *bare_words(),
    *memory_orders(),
    *small(),
    *compilers(),
    *compile_time(),
    *orthogonal(),
    *models(),
    *memory(),
    *importing(),
)
