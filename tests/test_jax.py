"""JAX: eager, traced, mapped and sharded, always the bits of the NumPy draw."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.registry import get_backend

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax_checks import RAW_KEY, SEED, reference, same  # noqa: E402

from initspec_jax import traced  # noqa: E402

# The package has a backend in both senses: here the module is meant.
backend_module = importlib.import_module("initspec_jax.backend")

DTYPES = ("float32", "bfloat16", "float16")
DRAWS = {
    "uniform": initspec.glorot_uniform,
    "uniform off centre": initspec.uniform(-0.1, 0.35),
    "normal": initspec.variance_scaling(2.0, "fan_out", "normal"),
    "normal with mean": initspec.normal(0.05, mean=-1.0),
    "truncated": initspec.he_normal,
    "truncated one side": initspec.truncated_normal(0.05, mean=0.1, low=-0.5, high=None),
    "tiny": initspec.normal(3e-6),  # mostly subnormal in float16
    "sparse": initspec.sparse(0.3),
    "sparse per input": initspec.sparse(0.3, per="input"),
    "constant": initspec.constant(0.3),
}
STORED = [  # shape and layout
    ((5, 7), {}),
    ((5, 7), {"layout": "OI"}),
    ((3, 3, 6, 10), {}),
    ((10, 6, 3, 3), {"layout": "OIHW"}),
    ((6, 3, 5), {"layout": "IOO"}),
    ((12, 2, 3, 3), {"layout": "OIHW", "groups": 4}),
    ((3, 3, 2, 12), {"layout": "HWIO", "groups": 4}),
    ((3, 7, 5), {"layout": "SIO"}),
    ((7, 5, 3), {"layout": "OIS"}),
    ((9, 12), {"layout": "I (4 O)"}),
    ((9, 12), {"layout": "I (4 O)", "blocks": ("i", "f", "g", "o")}),
    ((2, 5, 6), {"layout": "SOI", "blocks": ["q", "k"]}),
    ((11, 6), {"layout": "VI"}),
]


def in_all_ways(init, shape, dtype="float32", name="", **layout):
    """Every way to the tensor of one seed: by seed and by key, eager and (the last two) traced."""
    bound = init.bind("jax", name=name, **layout)

    def by_seed():
        return init(shape, backend="jax", dtype=dtype, seed=SEED, name=name, **layout)

    def by_key(key):
        return bound(key, shape, dtype)

    yield by_seed()
    yield by_key(jnp.asarray(RAW_KEY))
    yield from jax.jit(lambda key: (by_seed(), by_key(key)))(RAW_KEY)


# --- bits --------------------------------------------------------------------------------------


NARROWED = ("uniform", "normal with mean", "truncated", "tiny")
ALL = [(draw, "float32") for draw in DRAWS]
ALL += [(draw, dtype) for dtype in ("bfloat16", "float16") for draw in NARROWED]


@pytest.mark.parametrize(("draw", "dtype"), ALL)
def test_all_draws(draw, dtype):
    expected = reference(DRAWS[draw], (37, 11), dtype)
    for actual in in_all_ways(DRAWS[draw], (37, 11), dtype):
        same(actual, expected)


@pytest.mark.parametrize("draw", [*NARROWED, "sparse", "constant"])
def test_64_bit_types(draw):
    with jax.enable_x64(True):
        for actual in in_all_ways(DRAWS[draw], (37, 11), "float64"):
            same(actual, reference(DRAWS[draw], (37, 11), "float64"))


def test_64_bit_types_do_not_change_float32():
    with jax.enable_x64(True):
        for actual in in_all_ways(DRAWS["sparse"], (37, 11)):
            same(actual, reference(DRAWS["sparse"], (37, 11)))


@pytest.mark.parametrize(("shape", "layout"), STORED, ids=str)
def test_layouts(shape, layout):
    expected = reference(initspec.he_normal, shape, name="fc", **layout)
    for actual in in_all_ways(initspec.he_normal, shape, name="fc", **layout):
        same(actual, expected)


def test_sizes():
    init = initspec.uniform(-1.0, 1.0)
    cases = [(n, 3, "IO") for n in (0, 1, 3, 4, 5, 127, 128, 129)]
    cases += [(2, n, "IO") for n in (0, 1, 128)] + [(2, n, "OI") for n in (1, 3, 4, 5, 129)]

    def draw(key):
        return [init.bind("jax", layout=layout)(key, shape) for *shape, layout in cases]

    for each in (draw, jax.jit(draw)):
        for (*shape, layout), actual in zip(cases, each(jnp.asarray(RAW_KEY)), strict=True):
            same(actual, reference(init, shape, layout=layout))


def test_ranks_0_and_1():
    init = initspec.uniform(-1.0, 1.0)
    cases = [((), ""), ((9,), "O"), ((9,), "I"), ((9,), "S")]

    def draw(key):
        return [init.bind("jax", layout=layout)(key, shape) for shape, layout in cases]

    for (shape, layout), actual in zip(cases, jax.jit(draw)(RAW_KEY), strict=True):
        same(actual, reference(init, shape, layout=layout))


def test_padding_and_names():
    table = initspec.normal(0.02).bind("jax", layout="VI", name="embedding")
    small, large = (jax.jit(lambda k, n=n: table(k, (n, 6)))(RAW_KEY) for n in (11, 16))
    same(small, np.asarray(large)[:11])
    other = initspec.normal(0.02).bind("jax", layout="VI")(RAW_KEY, (11, 6))
    assert not (np.asarray(small) == np.asarray(other)).any()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_key_is_a_seed(compiled):
    bound = initspec.he_normal.bind("jax")

    def draw(key):
        return (jax.jit(bound, static_argnums=1) if compiled else bound)(key, (8, 8))

    for seed in (0, 7, 2**31):
        same(draw(jax.random.key(seed)), reference(initspec.he_normal, (8, 8), seed=seed))
        same(draw(jax.random.PRNGKey(seed)), reference(initspec.he_normal, (8, 8), seed=seed))
    high = jax.random.wrap_key_data(jnp.asarray(RAW_KEY), impl="threefry2x32")
    same(draw(high), reference(initspec.he_normal, (8, 8)))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_key_of_four_words(compiled):
    words = (1, 2, 0xFFFFFFFF, 0x80000000)
    low, high, _, _ = stream.philox4x32(words, (0, 0))
    expected = reference(initspec.he_normal, (8, 8), seed=low | high << 32)
    data = jnp.asarray(np.array(words, np.uint32))
    for key in (data, jax.random.wrap_key_data(data, impl="rbg")):
        bound = initspec.he_normal.bind("jax")
        same((jax.jit(bound, static_argnums=1) if compiled else bound)(key, (8, 8)), expected)


# --- transformations ---------------------------------------------------------------------------


def test_vmap_and_scan_over_keys():
    keys = jax.random.split(jax.random.key(3), 3)
    for init, layout in ((initspec.he_normal, {"blocks": ("a", "b")}), (initspec.sparse(0.5), {})):
        bound = init.bind("jax", layout="I (2 O)", **layout)

        def draw(key, bound=bound):
            return bound(key, (9, 6))

        expected = np.stack([np.asarray(draw(key)) for key in keys])
        same(jax.vmap(draw)(keys), expected)
        same(jax.jit(jax.vmap(draw))(keys), expected)
        same(jax.lax.scan(lambda _, key, f=draw: (None, f(key)), None, keys)[1], expected)


def test_grad_beside_a_draw():
    weights = reference(initspec.he_normal, (4, 4))
    bound = initspec.he_normal.bind("jax")

    def loss(x, key):
        traced = bound(key, (4, 4))
        static = initspec.he_normal((4, 4), backend="jax", seed=SEED)
        return ((traced + static) * x).sum()

    key = jnp.asarray(RAW_KEY)
    for gradient in (jax.grad(loss), jax.jit(jax.grad(loss))):
        same(gradient(jnp.ones((4, 4)), key), weights + weights)


AFTERWARDS = {
    "product": lambda w: w * 3.3,
    "fused": lambda w: w * 1.7 + 0.123,
    "sum": lambda w: w + 0.123,
    "quotient": lambda w: w / 0.7,
    "widened": lambda w: w.astype(jnp.float32) * 3,
    "narrowed": lambda w: w.astype(jnp.float32) - w.astype(jnp.bfloat16).astype(jnp.float32),
}


@pytest.mark.parametrize(
    ("shape", "layout", "dtype"),
    [
        ((64, 64), "IO", "float32"),
        ((64, 64), "OI", "float32"),
        ((4096,), "O", "float32"),
        ((64, 64), "IO", "bfloat16"),
        ((64, 64), "IO", "float16"),
        ((16, 16, 3, 3), "OIHW", "float32"),
        ((16, 16, 3, 3), "OIHW", "bfloat16"),
    ],
)
def test_what_follows_does_not_reach_into_the_draw(shape, layout, dtype):
    """XLA may merge, fuse and keep excess precision in the user's own operations, not in ours."""
    init = initspec.variance_scaling(2.0, "fan_in", "normal", fan=64)
    bound = init.bind("jax", layout=layout)

    def alone(weights):
        return [after(weights) for after in AFTERWARDS.values()]

    weights = jnp.asarray(reference(init, shape, dtype, layout=layout))
    expected = jax.jit(alone)(weights)
    by_key = jax.jit(lambda key: alone(bound(key, shape, dtype)))(RAW_KEY)
    by_seed = jax.jit(
        lambda: alone(init(shape, backend="jax", dtype=dtype, seed=SEED, layout=layout))
    )()
    for name, *three in zip(AFTERWARDS, expected, by_key, by_seed, strict=True):
        first, *others = map(np.asarray, three)
        for other in others:
            np.testing.assert_array_equal(other, first, err_msg=name)


# --- structured --------------------------------------------------------------------------------

PATTERNS = [
    (initspec.zeros, (4, 3), {}),
    (initspec.ones, (4, 3), {}),
    (initspec.identity(0.7), (4, 6), {}),
    (initspec.identity(), (2, 4, 6), {"layout": "SOI", "blocks": ("q", "k")}),
    (initspec.dirac, (3, 4, 2, 6), {"groups": 3}),
    (initspec.bilinear, (4, 5, 2, 3), {}),
    (initspec.sparse(0.4), (2, 4, 6), {"layout": "SOI", "blocks": ("q", "k")}),
    (initspec.sparse(0.4), (3, 3, 2, 6), {"groups": 3}),
    (initspec.sparse(0.4, per="input"), (3, 3, 2, 6), {"groups": 3}),
    (initspec.sparse(1.0), (4, 4), {}),
]


@pytest.mark.parametrize("case", range(len(PATTERNS)))
def test_patterns(case):
    init, shape, layout = PATTERNS[case]
    dtype = "bfloat16" if case % 2 else "float32"
    for actual in in_all_ways(init, shape, dtype, **layout):
        same(actual, reference(init, shape, dtype, **layout))


def test_equal_words_of_a_sparse_line_go_by_position(monkeypatch):
    """Ties are too rare to draw, so all words are made equal: the first of a line are zero."""
    original = traced.words
    monkeypatch.setattr(traced, "words", lambda *a: jnp.full_like(original(*a), 1 << 28))
    # A shape of its own, so that nothing that was traced before is taken.
    values = jax.jit(initspec.sparse(0.5).bind("jax"), static_argnums=1)(RAW_KEY, (6, 83))
    np.testing.assert_array_equal(np.asarray(values) == 0, [[True] * 83] * 3 + [[False] * 83] * 3)


ORTHOGONAL = [
    (initspec.orthogonal(), (24, 24), {}),
    (initspec.orthogonal(2.0), (24, 10), {}),
    (initspec.orthogonal(), (10, 24), {}),
    (initspec.orthogonal(), (3, 24, 24), {"layout": "SOI", "blocks": ("q", "k", "v")}),
    (initspec.orthogonal(), (3, 3, 4, 12), {"groups": 3}),
    (initspec.delta_orthogonal, (4, 3, 6, 8), {}),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("case", range(len(ORTHOGONAL)))
def test_orthogonal(case, dtype):
    """Exact by a known seed; by a traced key XLA factors, and only the last bits differ."""
    init, shape, layout = ORTHOGONAL[case]
    tolerance = {"float32": 3e-6, "bfloat16": 2**-7, "float64": 1e-14}[dtype]
    with jax.enable_x64(dtype == "float64"):
        expected = reference(init, shape, dtype, **layout)
        *exact, factored = in_all_ways(init, shape, dtype, **layout)
        for actual in exact:
            same(actual, expected)
        assert factored.dtype == expected.dtype
        near = np.asarray(factored, np.float64)
        np.testing.assert_allclose(near, expected.astype(np.float64), rtol=0, atol=tolerance)


# --- hand-over ---------------------------------------------------------------------------------


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="memory is shared on the CPU only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_host_memory_is_taken_over_without_a_copy(dtype, monkeypatch):
    taken = []
    original = backend_module.aligned
    monkeypatch.setattr(
        backend_module, "aligned", lambda *a: taken.append(original(*a)) or taken[-1]
    )
    array = initspec.he_normal((257, 129), backend="jax", seed=0, dtype=dtype)
    assert array.unsafe_buffer_pointer() == taken[0].ctypes.data
    assert not array.committed


def test_a_donated_array():
    expected = reference(initspec.he_normal, (64, 64))
    array = initspec.he_normal((64, 64), backend="jax", seed=SEED)
    doubled = jax.jit(lambda w: w * 2, donate_argnums=0)(array)
    same(doubled, expected * 2)
    same(initspec.he_normal((64, 64), backend="jax", seed=SEED), expected)


def test_to_host():
    backend = get_backend("jax")
    for dtype in DTYPES:
        host = backend.to_host(initspec.he_normal((5, 3), backend="jax", seed=1, dtype=dtype))
        assert host.dtype == (np.uint16 if dtype == "bfloat16" else dtype)
        expected = get_backend("numpy").to_host(initspec.he_normal((5, 3), seed=1, dtype=dtype))
        np.testing.assert_array_equal(host, expected)


def test_devices():
    device = jax.devices("cpu")[0]
    for given in ("cpu", "cpu:0", device, jax.sharding.SingleDeviceSharding(device)):
        array = initspec.he_normal((4, 4), backend="jax", seed=SEED, device=given)
        same(array, reference(initspec.he_normal, (4, 4)))
        assert array.devices() == {device}
        assert array.committed
    traced = jax.jit(lambda: initspec.he_normal((4, 4), backend="jax", seed=SEED, device=device))
    same(traced(), reference(initspec.he_normal, (4, 4)))


SHARDED = """
import jax, numpy as np, initspec
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

init = initspec.he_normal
bound, key = init.bind("jax"), jax.random.key(7)

def check(array, spec, shape=(16, 12)):
    np.testing.assert_array_equal(np.asarray(array), init(shape, seed=7))
    assert array.sharding.shard_shape(shape) == NamedSharding(mesh, spec).shard_shape(shape)

for kind, spec in ((AxisType.Auto, P(None, "x")), (AxisType.Explicit, P("x"))):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(kind,))
    place = NamedSharding(mesh, spec)
    check(bound(key, (16, 12), out_sharding=place), spec)
    check(init((16, 12), backend="jax", seed=7, device=place), spec)
    check(jax.jit(lambda k: bound(k, (16, 12)), out_shardings=place)(key), spec)
    with jax.set_mesh(mesh):
        check(bound(key, (16, 12), out_sharding=spec), spec)
        check(jax.jit(lambda k: bound(k, (16, 12), out_sharding=spec))(key), spec)
        check(jax.jit(lambda: init((16, 12), backend="jax", seed=7, device=place))(), spec)

mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
rows = NamedSharding(mesh, P("x"))
# Fewer blocks of four inputs than devices, and one input in all.
for shape in ((12, 12), (4, 5)):
    check(jax.jit(lambda k: bound(k, shape), out_shardings=rows)(key), P("x"), shape)
columns = NamedSharding(mesh, P(None, "x"))
wide = init.bind("jax", layout="OIHW")
for init_, shape, place, part in (
    (bound, (64, 64), rows, "f32[16,64]"),
    (bound, (64, 64), columns, "f32[64,16]"),
    (wide, (64, 64, 3, 3), rows, "f32[16,64,3,3]"),
    (wide, (64, 64, 3, 3), columns, "f32[64,16,3,3]"),
):
    made = jax.jit(lambda k: init_(k, shape), out_shardings=place).lower(key).compile()
    text = made.as_text()
    assert "all-" not in text and "collective" not in text  # every device makes its own part
    assert part in text and "[64,64" not in text and "[64,576" not in text, text
    np.testing.assert_array_equal(made(key), init_(key, shape))

keys = jax.random.split(key, 4)
for init_, shape in ((bound, (5, 3)), (wide, (5, 3, 2, 2))):
    each = jax.shard_map(
        lambda k: init_(k[0], shape)[None], mesh=mesh, in_specs=P("x"), out_specs=P("x")
    )
    for mine, one in zip(jax.jit(each)(keys), keys, strict=True):
        np.testing.assert_array_equal(mine, init_(one, shape))
fixed = jax.shard_map(
    lambda: init((5, 3), backend="jax", seed=7)[None], mesh=mesh, in_specs=(), out_specs=P("x")
)
for mine in jax.jit(fixed)():
    np.testing.assert_array_equal(mine, init((5, 3), seed=7))

for make in (
    lambda: bound(key, (15, 12), out_sharding=rows),
    lambda: init((15, 12), backend="jax", seed=7, device=rows),
    lambda: bound(key, (16, 12), out_sharding=P("x")),
):
    try:
        make()
    except initspec.InitspecValueError as error:
        assert "divides" in str(error) or "set_mesh" in str(error), error
    else:
        raise AssertionError("accepted")
there = lambda: init((4, 4), backend="jax", device="cpu:2", seed=1)
for make in (there, jax.jit(there)):
    assert make().devices() == {jax.devices()[2]}
print("done")
"""


def test_four_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    command = [sys.executable, "-W", "error", "-c", SHARDED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "done\n", done.stderr
