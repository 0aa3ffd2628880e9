"""Name maps: under the proposed names a model has the paths of the other, and nothing else."""

import numpy as np
import pytest
from keras_checks import quiet

from initspec.models import apply, diff, loads, plan
from initspec.models.mapping import propose

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
pytest.importorskip("flax")
eqx = pytest.importorskip("equinox")
keras = pytest.importorskip("keras")

import flax.linen as linen  # noqa: E402
from flax import nnx  # noqa: E402

from initspec_jax import Linen  # noqa: E402

nn = torch.nn
layers = keras.layers
pytestmark = [quiet, pytest.mark.usefixtures("one_thread")]

WIDTH, HEADS, WORDS, EPSILON = 8, 2, 11, 1e-5
WEIGHTS = {"role": ["kernel", "recurrent", "embedding"]}
RULES = [
    {"name": "weights", "match": WEIGHTS, "init": "glorot_normal"},
    {"name": "statistics", "match": {"role": "statistic"}, "init": "ones", "optional": True},
    {"name": "rest", "init": "ones", "optional": True},
]


def config(names):
    return {"initspec": 1, "seed": 3, "rule": RULES, "names": names}


def proved(left, right, known=None):
    """The proposal, after a proof that under it the right model has the left one's plan."""
    known = known or {}
    found = propose(left, right, config(known))
    assert found.complete, str(found)
    assert loads(found.dumps()) == found.to_config()
    plans = plan(left, config(known)), plan(right, config(joined(known, found)))
    assert drawn(plans[0]) == drawn(plans[1])
    assert diff(*plans, weights=False).same
    return found


def joined(known, found):
    names = found.to_config().to_dict().get("names", {})
    return known | {key: known.get(key, {}) | each for key, each in names.items()}


def drawn(found):
    rows = (row for row in found.rows if row.part is not None and row.part.value is None)
    return sorted(row.path for row in rows if row.stored.dtype == "float32")


def lines(found):
    return found.to_config().to_dict().get("names", {}).get(found.framework, {})


def abstract(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


# --- MLPs: all layers have one size, and only the right map computes the same -------------------


def torch_mlp():
    steps = [nn.Linear(WIDTH, WIDTH), nn.Tanh()] * 3
    return nn.Sequential(*(type(s)(WIDTH, WIDTH) if isinstance(s, nn.Linear) else s for s in steps))


def keras_mlp():
    dense = [layers.Dense(WIDTH, activation="tanh") for _ in range(3)]
    return keras.Sequential([keras.Input((WIDTH,)), layers.Identity(), *dense])


class LinenMLP(linen.Module):
    @linen.compact
    def __call__(self, x):
        for _ in range(3):
            x = linen.tanh(linen.Dense(WIDTH)(x))
        return x


def outputs(model, names, x):
    if isinstance(model, Linen):
        return model.module.apply(apply(model, config(names)), x)
    made = apply(model, config(names))
    return made(torch.from_numpy(x)).detach() if isinstance(made, nn.Module) else made(x)


MLPS = {
    "torch": torch_mlp,
    "keras": keras_mlp,
    "flax": lambda: Linen(LinenMLP(), abstract(1, WIDTH)),
}


@pytest.mark.parametrize("left", MLPS)
@pytest.mark.parametrize("right", MLPS)
def test_mlp(left, right):
    x = np.random.default_rng(1).standard_normal((5, WIDTH)).astype("float32")
    models = MLPS[left](), MLPS[right]()
    found = proved(*models)
    expected = outputs(models[0], {}, x)
    actual = outputs(models[1], joined({}, found), x)
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=1e-5)
    assert found.ambiguous == ()  # both are numbered
    assert bool(lines(found)) == (left != right)


def test_ten_and_more_are_in_order():
    class Deep(linen.Module):
        @linen.compact
        def __call__(self, x):
            for _ in range(12):
                x = linen.Dense(WIDTH)(x)
            return x

    left = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(12)])
    found = proved(left, Linen(Deep(), abstract(1, WIDTH)))
    assert lines(found) == {"Dense_{i}/{rest**}": "{i}/{rest}"}
    assert dict(found.pairs)["Dense_10/kernel"] == "10/kernel"


# --- conv nets ----------------------------------------------------------------------------------


class TorchConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.stem_norm = nn.BatchNorm2d(4, EPSILON)
        self.stages = nn.ModuleList([self.stage() for _ in range(2)])
        self.head = nn.Linear(4, 2)

    @staticmethod
    def stage():
        return nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


class LinenConv(linen.Module):
    @linen.compact
    def __call__(self, x):
        for number in range(5):
            options = {"feature_group_count": 4} if number in (1, 3) else {}
            x = linen.Conv(4, (1, 1) if number in (2, 4) else (3, 3), **options)(x)
            if number in (0, 2, 4):
                x = linen.BatchNorm(False, epsilon=EPSILON, momentum=0.9)(x)
        return linen.Dense(2)(x.mean((1, 2)))


def keras_conv():
    inputs = x = keras.Input((9, 9, 3))
    for number in range(5):
        options = {"kernel_size": 1 if number in (2, 4) else 3}
        depthwise = number in (1, 3)
        x = (layers.DepthwiseConv2D if depthwise else layers.Conv2D)(
            **options, **({} if depthwise else {"filters": 4})
        )(x)
        if number in (0, 2, 4):
            x = layers.BatchNormalization(epsilon=EPSILON, momentum=0.9)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


CONVS = {
    "torch": TorchConv,
    "keras": keras_conv,
    "flax": lambda: Linen(LinenConv(), abstract(1, 9, 9, 3)),
}


@pytest.mark.parametrize("left", CONVS)
@pytest.mark.parametrize("right", CONVS)
def test_conv_net(left, right):
    found = proved(CONVS[left](), CONVS[right]())
    if (left, right) == ("torch", "flax"):
        pairs = dict(found.pairs)
        assert pairs["Conv_3/kernel"] == "stages/1/0/kernel"
        assert pairs["BatchNorm_0/mean"] == "stem_norm/mean"
        (group,) = found.ambiguous  # nothing in their names says which norm is the stem's
        assert group[0] == ("BatchNorm_0", "stem_norm")
    else:
        assert found.ambiguous == () or ("torch" in (left, right) and left != right)


def test_counters_go_with_their_layer():
    found = propose(CONVS["flax"](), TorchConv())
    names = {**joined({}, found)}
    paths = [row.path for row in plan(TorchConv(), config(names)).rows]
    assert "BatchNorm_0/count" in paths
    assert len(paths) == len(set(paths))


# --- transformers -------------------------------------------------------------------------------


class TorchBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))


class TorchGPT(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.wte = nn.Embedding(WORDS, WIDTH)
        self.h = nn.ModuleList([TorchBlock() for _ in range(depth)])
        self.ln_f = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS)


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x, _=None):
        y = linen.LayerNorm(EPSILON)(x)
        x = x + linen.MultiHeadDotProductAttention(HEADS)(y, y)
        y = linen.Dense(16, name="up")(linen.LayerNorm(EPSILON)(x))
        return x + linen.Dense(WIDTH, name="down")(y), None


class LinenGPT(linen.Module):
    scanned: bool = False

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(WORDS, WIDTH, name="tokens")(tokens)
        if self.scanned:
            options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
            x, _ = linen.scan(LinenBlock, length=3, **options)()(x, None)
        else:
            for _ in range(3):
                x, _ = LinenBlock()(x)
        return linen.Dense(WORDS)(linen.LayerNorm(EPSILON)(x))


def keras_gpt():
    inputs = keras.Input((5,))
    x = layers.Embedding(WORDS, WIDTH)(inputs)
    for _ in range(3):
        y = layers.LayerNormalization(epsilon=EPSILON)(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)
        y = layers.LayerNormalization(epsilon=EPSILON)(x)
        x = x + layers.Dense(WIDTH)(layers.Dense(16)(y))
    x = layers.LayerNormalization(epsilon=EPSILON)(x)
    return keras.Model(inputs, layers.Dense(WORDS)(x))


TOKENS = abstract(1, 5, dtype="int32")
GPTS = {
    "torch": TorchGPT,
    "keras": keras_gpt,
    "flax": lambda: Linen(LinenGPT(), TOKENS),
    "scan": lambda: Linen(LinenGPT(scanned=True), TOKENS),
}


@pytest.mark.parametrize("left", GPTS)
@pytest.mark.parametrize("right", GPTS)
def test_transformer(left, right):
    found = proved(GPTS[left](), GPTS[right]())
    if "keras" in (left, right) and left != right:  # flat: of ten norms no name says whose it is
        ((first, *_, last),) = found.ambiguous
        side = left == "keras"
        assert (first[side], last[side]) == ("layer_normalization", "layer_normalization_6")
        assert {"torch": "ln_f", "keras": "", "flax": "LayerNorm_0", "scan": "LayerNorm_0"}[
            right if side else left
        ] == last[not side]
    else:
        assert found.ambiguous == ()
    if (left, right) == ("torch", "flax"):
        assert lines(found) == {
            "Dense_0/{rest**}": "head/{rest}",
            "LayerNorm_0/{rest**}": "ln_f/{rest}",
            "LinenBlock_{i}/LayerNorm_0/{rest**}": "h/{i}/ln_1/{rest}",
            "LinenBlock_{i}/LayerNorm_1/{rest**}": "h/{i}/ln_2/{rest}",
            "LinenBlock_{i}/MultiHeadDotProductAttention_0/{rest**}": "h/{i}/attn/{rest}",
            "LinenBlock_{i}/down/{rest**}": "h/{i}/mlp/2/{rest}",
            "LinenBlock_{i}/up/{rest**}": "h/{i}/mlp/0/{rest}",
            "tokens/embedding": "wte/embedding",
        }
    if (left, right) == ("scan", "flax"):
        assert lines(found) == {"LinenBlock_{i}/{rest**}": "ScanLinenBlock_0/{i}/{rest}"}


def test_names_that_are_known_stay():
    known = {"flax": {"params/Dense_0/kernel": {"path": "head/kernel"}}}
    found = proved(TorchGPT(), GPTS["flax"](), known)
    assert "Dense_0/bias" in lines(found) or "Dense_0/{rest**}" in lines(found)
    wrong = {"flax": {"Dense_0/{rest**}": {"path": "other/{rest}"}}}
    found = propose(TorchGPT(), GPTS["flax"](), config(wrong))
    assert (found.left_only, found.right_only) == (
        ("head/kernel", "head/bias"),
        ("other/bias", "other/kernel"),
    )
    wrong = {"flax": {"tokens/embedding": "h/0/attn/out/bias"}}
    found = propose(TorchGPT(), GPTS["flax"](), config(wrong))
    assert found.right_only == ("h/0/attn/out/bias",)  # of another size


# --- stacks -------------------------------------------------------------------------------------


class EqxBlock(eqx.Module):
    norm: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key):
        self.norm = eqx.nn.LayerNorm(WIDTH)
        self.up = eqx.nn.Linear(WIDTH, 16, key=key)
        self.down = eqx.nn.Linear(16, WIDTH, key=key)


class EqxNet(eqx.Module):
    tokens: eqx.nn.Embedding
    blocks: EqxBlock

    def __init__(self, key, depth=3):
        self.tokens = eqx.nn.Embedding(WORDS, WIDTH, key=key)
        self.blocks = eqx.filter_vmap(EqxBlock)(jax.random.split(key, depth))


class NnxBlock(nnx.Module):
    def __init__(self, key):
        rngs = nnx.Rngs(key)
        self.norm = nnx.LayerNorm(WIDTH, epsilon=EPSILON, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 16, rngs=rngs)
        self.down = nnx.Linear(16, WIDTH, rngs=rngs)


class NnxNet(nnx.Module):
    def __init__(self, key):
        self.tokens = nnx.Embed(WORDS, WIDTH, rngs=nnx.Rngs(0))
        self.blocks = nnx.vmap(NnxBlock)(jax.random.split(key, 3))


class TorchStack(nn.Module):
    def __init__(self, *names):
        super().__init__()
        self.wte = nn.Embedding(WORDS, WIDTH)
        for name in names:
            self.add_module(name, self.block())

    @staticmethod
    def block():
        return nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH))


@pytest.mark.parametrize("make", [EqxNet, NnxNet])
@pytest.mark.parametrize("names", [("h0", "h1", "h2"), ("h4", "h5", "h6"), ("in", "mid", "last")])
def test_stack(make, names):
    found = proved(TorchStack(*names), make(jax.random.key(0)))
    stacks = [each["stack"] for each in lines(found).values() if isinstance(each, dict)]
    assert stacks
    for stack in stacks:
        assert (stack["axis"], stack["capture"]) == (0, "i")
        labels = [name[1:] for name in names] if names[0][0] == "h" else list(names)
        assert stack.get("parts", ["0", "1", "2"]) == labels
    second = [left for right, left in found.pairs if "[1]" in right]
    assert second
    assert all(left.startswith(f"{names[1]}/") for left in second)
    assert bool(found.ambiguous) == (names[0] == "in")  # words, that say nothing of numbers


def test_stack_along_another_axis():
    def make(key):
        net = EqxNet(key)
        blocks = eqx.filter_vmap(EqxBlock, out_axes=eqx.if_array(1))(jax.random.split(key, 3))
        return eqx.tree_at(lambda n: n.blocks, net, blocks)

    found = proved(TorchStack("h0", "h1", "h2"), make(jax.random.key(0)))
    stacks = [each["stack"] for each in lines(found).values() if isinstance(each, dict)]
    assert {stack["axis"] for stack in stacks} == {1}
    assert ("blocks/up/weight[:, 2]", "h2/1/kernel") in found.pairs


def test_stack_of_another_depth():
    found = propose(TorchStack("h0", "h1"), EqxNet(jax.random.key(0)))
    assert not found.complete
    assert [each for each in found.right_only if each.startswith("blocks/up/weight")]
    assert "h0/1/kernel" in found.left_only
    assert lines(found) == {"tokens/embedding": "wte/embedding"}


# --- what is the same, what is wrong, what is in doubt ------------------------------------------


def test_identical_names_need_no_map():
    found = proved(TorchGPT(), TorchGPT())
    assert lines(found) == {}
    assert found.dumps() == "initspec = 1\n"
    assert "nothing to map" in str(found)


def test_identical_names_go_before_order():
    class Left(nn.Module):
        def __init__(self, *names):
            super().__init__()
            for name in names:
                self.add_module(name, nn.Linear(WIDTH, WIDTH))

    found = proved(Left("query", "key", "value"), Left("key", "value", "query"))
    assert lines(found) == {}
    assert found.ambiguous == ()
    short = proved(Left("query", "key", "value"), Left("k_proj", "q_proj", "v_proj"))
    assert dict(short.pairs)["q_proj/kernel"] == "query/kernel"
    assert short.ambiguous == ()


def test_order_alone_is_told():
    left = nn.ModuleDict({"first": nn.Linear(WIDTH, WIDTH), "second": nn.Linear(WIDTH, WIDTH)})
    right = nn.ModuleDict({"up": nn.Linear(WIDTH, WIDTH), "down": nn.Linear(WIDTH, WIDTH)})
    found = proved(left, right)
    assert found.ambiguous == ((("up", "first"), ("down", "second")),)
    assert "only the order" in str(found)
    assert "  down = second" in str(found).splitlines()


def test_wrong_model():
    left, right = nn.Linear(4, 3), nn.Linear(4, 5)
    found = propose(left, right)
    assert not found.complete
    assert found.left_only == found.right_only == ("kernel", "bias")
    assert lines(found) == {}
    assert "are these the same network?" in str(found)


def test_what_has_no_partner_takes_no_path_away():
    def net(*sizes, **inner):
        parts = {name: nn.Linear(*size, bias=False) for name, size in sizes}
        return nn.ModuleDict({**parts, **{name: net(*each) for name, each in inner.items()}})

    left = net(a=[("0", (4, 3)), ("1", (4, 3)), ("2", (5, 5))])
    right = net(("x_0", (4, 3)), ("x_1", (4, 3)), ("x_2", (7, 7)), a=[("2", (5, 5))])
    found = propose(left, right)
    assert lines(found) == {"x_0/kernel": "a/0/kernel", "x_1/kernel": "a/1/kernel"}
    assert found.right_only == ("x_2/kernel",)
    paths = [row.path for row in plan(right, config(joined({}, found))).rows]
    assert paths == ["a/0/kernel", "a/1/kernel", "x_2/kernel", "a/2/kernel"]


def test_tied_weights():
    class Tied(nn.Module):
        def __init__(self, tokens, head):
            super().__init__()
            self.add_module(tokens, nn.Embedding(WORDS, WIDTH))
            self.add_module(head, nn.Linear(WIDTH, WORDS, bias=False))
            self.get_submodule(head).weight = self.get_submodule(tokens).weight

    models = Tied("wte", "lm_head"), Tied("tokens", "out")
    found = propose(*models)
    assert found.complete
    tied = {"tie": {"lm_head/kernel": "wte/embedding"}}
    plans = plan(models[0], config({}) | tied), plan(models[1], config(joined({}, found)) | tied)
    assert drawn(plans[0]) == drawn(plans[1]) == ["wte/embedding"]


def test_lstm_keeps_its_gates_and_constants():
    found = proved(
        nn.ModuleDict({"rnn": nn.LSTM(3, 4), "out": nn.Linear(4, 2)}),
        nn.ModuleDict({"encoder": nn.LSTM(3, 4), "head": nn.Linear(4, 2)}),
    )
    assert lines(found) == {"encoder/{rest**}": "rnn/{rest}", "head/{rest**}": "out/{rest}"}
    assert found.ambiguous == ()
