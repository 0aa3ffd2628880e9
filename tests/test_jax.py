"""JAX: eager, traced, mapped and sharded, always the bits of the NumPy draw."""

import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.registry import get_backend

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from initspec_jax import traced  # noqa: E402

# The package has a backend in both senses: here the module is meant.
backend_module = importlib.import_module("initspec_jax.backend")

SEED = 0x9E3779B97F4A7C15
RAW_KEY = np.array([SEED >> 32, SEED & 0xFFFFFFFF], np.uint32)
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


def reference(init, shape, dtype="float32", seed=SEED, name="", **layout):
    return init(shape, dtype=dtype, seed=seed, name=name, **layout)


def same(actual, expected):
    """Bits, shape and dtype."""
    assert isinstance(actual, jax.Array)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    unsigned = f"u{expected.dtype.itemsize}"
    np.testing.assert_array_equal(np.asarray(actual).view(unsigned), expected.view(unsigned))


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


def test_equal_layers_are_traced_once_and_hold_no_weights():
    bound = initspec.he_normal.bind("jax")

    def layers(key):
        return [bound(each, (512, 512)) for each in jax.random.split(key, 20)]

    text = jax.jit(layers).lower(jax.random.key(0)).as_text()
    assert text.count("func.func private @_compiled") == 1
    static = jax.jit(lambda: initspec.he_normal((2048, 2048), backend="jax", seed=1))
    assert len(static.lower().as_text()) < 200_000  # the table is 32 KiB, the weights 16 MiB
    assert len(jax.jit(lambda: initspec.ones((2048, 2048), backend="jax")).lower().as_text()) < 2000


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
    original = traced._lanes
    monkeypatch.setattr(traced, "_lanes", lambda *a: jnp.full_like(original(*a), 1 << 28))
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
    original = backend_module._aligned
    monkeypatch.setattr(
        backend_module, "_aligned", lambda *a: taken.append(original(*a)) or taken[-1]
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
text = jax.jit(lambda k: bound(k, (64, 64)), out_shardings=rows).lower(key).compile().as_text()
assert "all-" not in text and "collective" not in text  # every device makes its own part
assert "f32[16,64]" in text and "[64,64]" not in text

keys = jax.random.split(key, 4)
each = jax.shard_map(
    lambda k: bound(k[0], (5, 3))[None], mesh=mesh, in_specs=P("x"), out_specs=P("x")
)
for mine, one in zip(jax.jit(each)(keys), keys, strict=True):
    np.testing.assert_array_equal(mine, bound(one, (5, 3)))
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


# --- other libraries ---------------------------------------------------------------------------


def test_flax_linen():
    nn = pytest.importorskip("flax.linen")
    init = initspec.he_normal.bind("jax")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(6, (3, 3), kernel_init=init, param_dtype=jnp.bfloat16)(x)
            return nn.Dense(5, kernel_init=init)(x.mean((1, 2)))

    x = jnp.ones((1, 8, 8, 3))
    eager = Net().init(jax.random.key(0), x)["params"]
    compiled = jax.jit(Net().init)(jax.random.key(0), x)["params"]
    jax.tree.map(lambda a, b: same(a, np.asarray(b)), compiled, eager)
    kernel = eager["Conv_0"]["kernel"]
    assert kernel.dtype == jnp.bfloat16
    assert np.asarray(kernel, np.float32).std() == pytest.approx((2 / 27) ** 0.5, rel=0.15)


def test_flax_nnx_layers_share_one_object_and_differ():
    nnx = pytest.importorskip("flax.nnx")
    init = initspec.he_normal.bind("jax")

    def make():
        rngs = nnx.Rngs(0)
        layers = [nnx.Linear(4, 4, kernel_init=init, rngs=rngs) for _ in range(2)]
        return [*layers, nnx.Conv(3, 6, (3, 3), kernel_init=init, rngs=rngs)]

    first, second, conv = (layer.kernel[...] for layer in make())
    assert not (np.asarray(first) == np.asarray(second)).any()
    key = nnx.Rngs(0).params()
    same(first, np.asarray(init(key, (4, 4))))
    same(nnx.jit(make)()[2].kernel[...], np.asarray(conv))


def test_haiku():
    hk = pytest.importorskip("haiku")
    f = initspec.he_normal.bind("jax")

    def net(x):
        return hk.Linear(5, w_init=lambda *args: f(hk.next_rng_key(), *args))(x)

    model = hk.transform(net)
    weights = model.init(jax.random.key(2), jnp.ones((1, 7)))["linear"]["w"]
    jitted = jax.jit(model.init)(jax.random.key(2), jnp.ones((1, 7)))["linear"]["w"]
    assert weights.shape == (7, 5)
    same(jitted, np.asarray(weights))


def test_equinox():
    eqx = pytest.importorskip("equinox")
    f = initspec.he_normal.bind("jax", layout="OI")

    def make(key):
        layer = eqx.nn.Linear(7, 5, key=key)
        return eqx.tree_at(lambda each: each.weight, layer, f(key, layer.weight.shape))

    layer = make(jax.random.key(4))
    same(layer.weight, reference(initspec.he_normal, (5, 7), seed=4, layout="OI"))
    same(eqx.filter_jit(make)(jax.random.key(4)).weight, np.asarray(layer.weight))
    ensemble = eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), 3))
    assert ensemble.weight.shape == (3, 5, 7)


# --- the bound object --------------------------------------------------------------------------


def test_the_bound_object_is_a_value():
    one = initspec.he_normal.bind("jax", layout="(S O) I", sizes={"S": 2}, name="a")
    two = initspec.he_normal.bind("jax", name="a", sizes={"S": 2}, layout="(S O) I", groups=None)
    assert one == two
    assert hash(one) == hash(two)
    assert one != initspec.he_normal.bind("jax", name="b", layout="(S O) I", sizes={"S": 2})
    assert pickle.loads(pickle.dumps(one)) == one
    assert "bind('jax', name='a', layout='(S O) I'" in repr(one)
    same(
        one(RAW_KEY, (6, 4)),
        reference(initspec.he_normal, (6, 4), name="a", layout="(S O) I", sizes={"S": 2}),
    )


def test_the_protocol_of_jax():
    init = initspec.he_normal.bind("jax")
    assert isinstance(init, jax.nn.initializers.Initializer)
    expected = reference(initspec.he_normal, (4, 4))
    same(init(RAW_KEY, (4, 4), None), expected)
    same(init(RAW_KEY, [4, 4], dtype=jnp.dtype("float32")), expected)
    same(init(key=RAW_KEY, shape=(4, 4), dtype=np.float32, out_sharding=None), expected)
    for dtype in (jnp.bfloat16, jnp.float16):
        assert init(RAW_KEY, (4, 4), dtype).dtype == dtype
    with jax.enable_x64(True):
        assert init(RAW_KEY, (4, 4)).dtype == jnp.float32
        assert init(RAW_KEY, (4, 4), None).dtype == jnp.float32
    # As in JAX, what draws nothing does not look at its key.
    same(initspec.zeros.bind("jax")(None, (3,)), np.zeros(3, np.float32))


# --- refusals ----------------------------------------------------------------------------------


def test_float64_needs_64_bit_types(monkeypatch):
    def work(*_):
        raise AssertionError("something was filled")

    monkeypatch.setattr(backend_module, "fill", work)
    init = initspec.he_normal.bind("jax")
    for attempt in (
        lambda: init(RAW_KEY, (4, 4), jnp.float64),
        lambda: jax.jit(lambda key: init(key, (4, 4), "float64"))(RAW_KEY),
        lambda: initspec.he_normal((4, 4), backend="jax", dtype="float64", seed=0),
    ):
        with pytest.raises(InitspecValueError, match=r"config.update\('jax_enable_x64', True\)"):
            attempt()


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.jit(f)(1.0),
        lambda f: jax.vmap(f)(jnp.ones(2)),
        lambda f: jax.grad(lambda x: f(x).sum())(1.0),
        lambda f: jax.lax.scan(lambda c, x: (c, f(x)), None, jnp.ones(3)),
        lambda f: jax.eval_shape(f, 1.0),
    ],
)
def test_no_fresh_seed_inside_a_transformation(transform):
    with pytest.raises(InitspecValueError, match=r"seed: got None.*bind\('jax'\)"):
        transform(lambda x: x * initspec.he_normal((4, 4), backend="jax"))
    transform(lambda x: x * initspec.ones((4, 4), backend="jax"))


def test_fresh_seeds_differ():
    one, two = (initspec.he_normal((8, 8), backend="jax") for _ in range(2))
    assert not (np.asarray(one) == np.asarray(two)).any()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (7, "jax.random.key"),
        (np.int64(7), "jax.random.key"),
        (True, "jax.random.key"),
        (None, "jax.random.key"),
        ([0, 7], "jax.random.key"),
        (np.array([0, 7]), "uint32"),
        (np.array([0.0, 7.0], np.float32), "uint32"),
        (np.uint32(7), "jax.random.key"),
        (np.zeros(3, np.uint32), "2 or 4 words"),
        (np.zeros((5, 2), np.uint32), "vmap"),
    ],
)
def test_what_is_no_key(key, message):
    with pytest.raises(InitspecError, match=message):
        initspec.he_normal.bind("jax")(key, (4, 4))


def test_what_is_no_key_while_tracing():
    init = initspec.he_normal.bind("jax")
    with pytest.raises(InitspecTypeError, match=r"jax\.random\.key"):
        jax.jit(lambda seed: init(seed, (4, 4)))(7)
    with pytest.raises(InitspecValueError, match="vmap"):
        init(jax.random.split(jax.random.key(0), 3), (4, 4))
    with pytest.raises(InitspecValueError, match="vmap"):
        jax.jit(lambda keys: init(keys, (4, 4)))(jax.random.split(jax.random.key(0), 3))
    with pytest.raises(InitspecTypeError, match=r"bind\('jax'\)"):
        jax.jit(lambda seed: initspec.he_normal((4, 4), backend="jax", seed=seed))(7)


@pytest.mark.parametrize("dtype", [jnp.int32, "int8", jnp.complex64, bool, float])
def test_dtypes_that_are_refused(dtype):
    with pytest.raises(InitspecTypeError, match="dtype"):
        initspec.he_normal.bind("jax")(RAW_KEY, (4, 4), dtype)


def test_other_refusals():
    init = initspec.he_normal.bind("jax")
    with pytest.raises(InitspecTypeError, match="no writable tensors"):
        initspec.he_normal(backend="jax", out=jnp.zeros((4, 4)), seed=0)
    with pytest.raises(InitspecTypeError, match="no writable tensors"):
        initspec.he_normal(out=jnp.zeros((4, 4)), seed=0)
    for device in ("warp", "cpu:99", "cpu:x"):
        with pytest.raises(InitspecValueError, match=r"device: got .* as \['"):
            initspec.he_normal((4, 4), backend="jax", device=device, seed=0)
    with pytest.raises(InitspecTypeError, match="device"):
        initspec.he_normal((4, 4), backend="jax", device=3, seed=0)
    with pytest.raises(InitspecTypeError, match="out_sharding"):
        init(RAW_KEY, (4, 4), jnp.float32, "cpu")
    with pytest.raises(InitspecTypeError, match="Did you mean 'groups'"):
        initspec.he_normal.bind("jax", group=2)
    with pytest.raises(InitspecValueError, match="layout"):
        initspec.he_normal.bind("jax", layout="QQ")
    with pytest.raises(InitspecTypeError, match="name"):
        initspec.he_normal.bind("jax", name=3)
    with pytest.raises(InitspecTypeError, match="shape"):
        jax.jit(lambda key, n: init(key, (n, 4)))(RAW_KEY, 4)
