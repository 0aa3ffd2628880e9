"""JAX: initializers bound for Flax, Haiku and Equinox, and what is refused."""

import importlib
import pickle

import numpy as np
import pytest

import initspec
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax_checks import RAW_KEY, reference, same  # noqa: E402

# The package has a backend in both senses: here the module is meant.
backend_module = importlib.import_module("initspec_jax.backend")


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
