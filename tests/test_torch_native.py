"""What torch users meet: bound initializers in modules, torch.compile, torch.export."""

import copy
import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import initspec
from initspec import InitspecError, InitspecTypeError, InitspecValueError
from initspec.initializer import Initializer
from initspec.layout import Layout

torch = pytest.importorskip("torch")

from torch._subclasses import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch_checks import NAME, SEED, assert_reference  # noqa: E402

from initspec_torch import TorchInitializer  # noqa: E402
from initspec_torch.compiled import options_of, text_of  # noqa: E402

HE = initspec.he_normal
he_normal_ = HE.bind("torch")


# --- bound initializers -------------------------------------------------------------------------


def test_a_bound_initializer_is_a_value():
    assert isinstance(he_normal_, TorchInitializer)
    bound = HE.bind("torch", layout="OIHW", groups=2, sizes={"W": 3})
    same = [
        HE.bind("torch", sizes={"W": np.int64(3)}, groups=np.int64(2), layout="OIHW", blocks=None),
        pickle.loads(pickle.dumps(bound)),
        copy.deepcopy(bound),
        eval(repr(bound), {"Initializer": Initializer}),
    ]
    assert {bound, *same} == {bound}
    assert bound != HE.bind("torch", layout="OIHW", groups=4, sizes={"W": 3})
    assert bound != initspec.he_uniform.bind("torch", layout="OIHW", groups=2, sizes={"W": 3})


LAYOUTS = [
    ("OIHW", {"groups": 2, "stride": (2, 1)}),
    ("IOHW", {"groups": 2, "stride": 2}),
    ("(3 O) I", {"blocks": ("q", "k", "v")}),
    ("S I O", {"blocks": iter(["a", "b"])}),
    ("(O G) I", {"sizes": {"O": 3}}),
    ("OIHW", {"transposed": True}),
]


@pytest.mark.parametrize(("pattern", "options"), LAYOUTS, ids=str)
def test_layout_options_survive_being_text(pattern, options):
    text = text_of({"layout": pattern, **options})
    layout = Layout.parse(**rename(options_of(text)))
    assert Layout.parse(**rename(options_of(text_of({"layout": layout})))) == layout


def rename(options):
    return {"pattern" if key == "layout" else key: value for key, value in options.items()}


@pytest.mark.parametrize("as_object", [False, True])
def test_bound_layout_options_are_used(as_object):
    options = {"layout": "(2 O) I", "blocks": ("a", "b")}
    if as_object:
        options = {"layout": Layout.parse(**rename(options))}
    bound = HE.bind("torch", **options)
    out = bound(torch.zeros(8, 3), seed=SEED, name=NAME)
    assert_reference(out[:4], name=f"{NAME}#a")
    assert_reference(out[4:], name=f"{NAME}#b")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"group": 2}, "group.*'groups'"),
        ({"gain": 2.0}, "gain.*keywords"),
        ({"layout": "OI?"}, "layout.*\n.*OI"),
        ({"layout": "OI", "groups": -1}, "groups"),
        ({"layout": Layout.parse("OI"), "groups": 2}, "layout"),
        ({"blocks": [object()]}, "tuples and dictionaries"),
    ],
)
def test_bad_options_are_refused_when_they_are_given(options, text):
    with pytest.raises(InitspecError, match=text):
        HE.bind("torch", **options)


class Block(torch.nn.Module):
    """A module as users write them, with reset_parameters and a tensor of every kind."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(4, 3))
        self.bias = torch.nn.Parameter(torch.empty(4))
        self.conv = torch.nn.Conv2d(4, 8, 3, groups=2)
        self.register_buffer("table", torch.empty(2, 2))
        self.reset_parameters()

    def reset_parameters(self):
        he_normal_(self.weight)
        initspec.zeros.bind("torch")(self.bias)
        HE.bind("torch", groups=2)(self.conv.weight)
        initspec.identity().bind("torch")(self.table)


def test_in_reset_parameters_and_under_a_meta_device():
    torch.manual_seed(3)
    first, second = Block(), Block()
    assert not torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, torch.zeros(4))
    assert torch.equal(first.table, torch.eye(2))
    torch.manual_seed(3)
    again = Block()
    assert torch.equal(first.conv.weight, again.conv.weight)
    with torch.device("meta"):
        meta = Block()
    assert meta.weight.is_meta
    meta.to_empty(device="cpu").reset_parameters()
    assert meta.weight.isfinite().all()
    assert torch.nn.utils.skip_init(torch.nn.Linear, 3, 4).weight.shape == (4, 3)


def test_in_module_apply():
    def initialise(module):
        if isinstance(module, torch.nn.Linear):
            he_normal_(module.weight)

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)).apply(initialise)
    assert not torch.equal(model[0].weight, model[1].weight)
    with pytest.raises(InitspecTypeError, match="Linear"):
        model.apply(he_normal_)


# --- torch.compile and torch.export -------------------------------------------------------------


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


compiles = pytest.mark.usefixtures("fresh_compiler")


def new(x):
    return HE((6, 5), backend="torch", seed=SEED, name=NAME) + x


def new_with_options(x):
    blocks = HE((6, 5), backend="torch", layout="(2 O) I", blocks=["a", "b"], seed=1, dtype="bf16")
    conv = HE((6, 2, 3, 3), backend="torch", groups=2, layout="OIHW", stride=(2, 2), seed=1)
    square = initspec.orthogonal()((3, 3), backend="torch", seed=2, dtype=torch.float64)
    return blocks, conv, square, he_normal_(torch.empty(3, 4, dtype=torch.float64), seed=3)


def new_without_seed(x):
    initspec.ones.bind("torch")(x[0])  # neither this nor the next line draws a seed
    HE((6, 5), backend="torch", device="meta")
    return [HE((6, n), backend="torch") for n in (5, 4, 5)] + [he_normal_(torch.empty(6, 5))]


def made_inside(x):
    init = initspec.normal(0.5).replace(mean=1.0)
    return init((6, 5), backend="torch", seed=1), HE.bind("torch", layout="OI")(x + 0, seed=1)


def in_place(x):
    he_normal_(x[:3].T, seed=SEED, name=NAME)
    HE(out=x[3:], seed=SEED, name=NAME)
    return x.clone()


FUNCTIONS = (new, new_with_options, new_without_seed, made_inside, in_place)


def agree(function, compiled):
    torch.manual_seed(11)
    want = torch.utils._pytree.tree_leaves(function(torch.zeros(6, 5)))
    torch.manual_seed(11)
    got = torch.utils._pytree.tree_leaves(compiled(torch.zeros(6, 5)))
    return len(want) == len(got) and all(map(torch.equal, want, got))


@compiles
@pytest.mark.parametrize("engine", ["eager", "aot_eager"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_compiled_equals_eager(function, engine):
    compiled = torch.compile(function, backend=engine, fullgraph=True)
    assert agree(function, compiled)
    assert agree(function, compiled)  # and the second time


@compiles
@pytest.mark.filterwarnings("ignore")
def test_inductor_equals_eager():
    def function(x):
        return new_without_seed(x), in_place(x), he_normal_(x).clone()

    compiled = torch.compile(function, fullgraph=True)
    assert agree(function, compiled)
    out = torch.zeros(6, 5)
    assert compiled(out)[2].data_ptr() != out.data_ptr()  # inductor may lose what operators write


@compiles
@pytest.mark.parametrize("training", [False, True])
def test_compiled_calls_without_a_seed_differ(training):
    compiled = torch.compile(
        lambda x: [x * HE((4, 3), backend="torch") for _ in range(2)],
        backend="aot_eager",
        fullgraph=True,
    )
    x = torch.ones(4, 3, requires_grad=training)
    draws = [*compiled(x), *compiled(x)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 4


@compiles
@pytest.mark.parametrize("engine", ["eager", "aot_eager"])
def test_a_parameter_in_a_compiled_module(engine):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(4, 3))

        def forward(self, x):
            for half in self.weight.chunk(2):
                he_normal_(half, seed=SEED, name=NAME)
            return x @ self.weight.T

    model = Model()
    version = model.weight._version
    torch.compile(model, backend=engine, fullgraph=True)(torch.ones(2, 3)).sum().backward()
    for half in model.weight.chunk(2):
        assert_reference(half)
    assert model.weight.is_leaf
    assert model.weight.grad.eq(2.0).all()
    assert model.weight._version > version


@compiles
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("again", [False, True])
def test_the_backward_pass_sees_the_same_draw(again):
    from functorch.compile import min_cut_rematerialization_partition, nop
    from torch._dynamo.backends.common import aot_autograd
    from torch.utils.checkpoint import checkpoint

    def loss(x):
        return (x * HE((4, 3), backend="torch").sin()).sum()

    def checkpointed(x):
        return checkpoint(loss, x, use_reentrant=False)

    engine = aot_autograd(fw_compiler=nop, partition_fn=min_cut_rematerialization_partition)
    compiled = torch.compile(checkpointed if again else loss, backend=engine, fullgraph=True)
    x = torch.ones(4, 3, requires_grad=True)
    value = compiled(x)
    value.backward()
    assert value.detach().isclose(x.grad.sum())


@compiles
def test_the_graph_holds_one_operator():
    graphs = []

    def engine(module, _):
        graphs.append(module.graph)
        return module

    def function():
        return HE((6, 5), backend="torch", layout="OI", seed=SEED, name=NAME)

    torch.compile(function, backend=engine, fullgraph=True)()
    [graph] = graphs
    called = [node.target for node in graph.nodes if node.op == "call_function"]
    assert called == [torch.empty, torch.ops.initspec.draw]
    assert torch.Tag.nondeterministic_seeded in torch.ops.initspec.fresh_seed.default.tags


@compiles
def test_what_is_recompiled_and_what_is_not():
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()

    @torch.compile(backend=counter, fullgraph=True)
    def compiled(init, rows, seed):
        return init((rows.shape[0], 5), backend="torch", seed=seed, name=NAME)

    for init in (HE, initspec.he_uniform, *map(initspec.normal, (1.0, 2.0, 0.3))):
        assert_reference(compiled(init, torch.zeros(6), 1), init, seed=1)
    first = counter.frame_count
    for size, seed in ((7, 2), (8, 3), (9, 2**63 - 1), (10, 4)):
        assert_reference(compiled(init, torch.zeros(size), seed), init, seed=seed)
    assert counter.frame_count <= first + 2  # sizes and seeds become symbols


@compiles
def test_the_default_device_inside_compiled_code():
    compiled = torch.compile(
        lambda: HE((4, 3), backend="torch", seed=0), backend="aot_eager", fullgraph=True
    )
    assert not compiled().is_meta
    with torch.device("meta"):
        assert compiled().is_meta
    given = torch.compile(lambda: HE((4, 3), backend="torch", device="meta"), backend="aot_eager")
    assert given().is_meta


@compiles
def test_other_devices_than_the_default_one_inside_compiled_code():
    def function(x):
        return HE((6, 5), backend="torch", device="cpu"), he_normal_(x)

    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    with torch.device("meta"):
        torch.manual_seed(1)
        made = compiled(torch.zeros(6, 5, device="cpu"))
        torch.manual_seed(1)
        assert all(map(torch.equal, made, function(torch.zeros(6, 5, device="cpu"))))


@compiles
def test_the_operator_is_what_its_schema_says():
    options = (str(HE.to_dict()), "{'layout': 'IO'}", (3, 4), None, -1, NAME)
    for dtype in (torch.float64, torch.bfloat16):
        like = torch.empty(0, dtype=dtype)
        torch.library.opcheck(torch.ops.initspec.draw.default, (like, *options))
        made = torch.ops.initspec.draw(like, *options)
        assert made.dtype == dtype
        assert_reference(made, layout="IO", seed=2**64 - 1)


@compiles
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shape": (4,)}, "fans need at least 2 axes"),
        ({"shape": (4, -1)}, r"shape\[1\]: got -1"),
        ({"shape": (4, 3.0)}, r"shape\[1\]: got 3.0"),
        ({"shape": None}, "shape: got None"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": True}, "seed: got True"),
        ({"name": 3}, "name: got 3"),
        ({"dtype": "int8"}, "dtype: got 'int8'"),
        ({"layout": "OIH"}, "layout: got 'OIH'"),
        ({"group": 2}, "group: got 2"),
        ({"shape": None, "out": torch.zeros(1, 3).expand(4, 3)}, "memory of its own"),
        ({"shape": (3, 4), "out": torch.zeros(4, 3)}, "the shape of out"),
        ({"out": torch.zeros(4, 3), "device": "cpu"}, "device: got 'cpu'"),
        ({"out": torch.zeros(4, 3), "dtype": "float64"}, "dtype: got 'float64'"),
        ({"shape": None, "out": torch.zeros(4, 3, dtype=torch.int8)}, "torch.int8"),
    ],
)
def test_errors_in_compiled_code_are_ours(options, text):
    options = {"shape": (4, 3), "backend": "torch", "seed": 0, **options}
    with pytest.raises(InitspecError, match=text):
        torch.compile(lambda: HE(**options), backend="eager")()


@compiles
def test_full_graphs_name_our_errors():
    def function():
        return HE((4, -1), backend="torch", seed=0)

    with pytest.raises(Exception, match=r"raised exception InitspecValueError\('shape\[1\]', -1"):
        torch.compile(function, backend="eager", fullgraph=True)()


@compiles
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_is_saved_and_loaded(strict):
    class Model(torch.nn.Module):
        def forward(self, x):
            return new(x), HE((3, 3), backend="torch")

    program = torch.export.export(Model(), (torch.zeros(6, 5),), strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert agree(Model(), torch.export.load(file).module())


FIRST_USE = """
import sys, torch, initspec
make = lambda: initspec.he_normal((4, 3), backend="torch", seed=7)
compiled = torch.compile(make, backend="eager", fullgraph=True)()
assert "initspec_torch" in sys.modules
assert torch.equal(compiled, make())
"""
NO_COMPILER = """
import sys, initspec
initspec.he_normal.bind("torch", layout="OI")(initspec.he_normal((4, 3), backend="torch"))
assert "torch._dynamo" not in sys.modules, "eager calls must not wait for the compiler to load"
"""


@pytest.mark.parametrize("code", [FIRST_USE, NO_COMPILER], ids=["first_use", "no_compiler"])
def test_in_a_new_process(code):
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- other tracers and transforms ---------------------------------------------------------------


def drawn(x):
    return x * HE((4, 3), backend="torch", seed=SEED, name=NAME)


def bound(x):
    return x * he_normal_(torch.zeros(4, 3), seed=SEED, name=NAME)


def given(x):
    return x * HE(out=torch.zeros(4, 3), seed=SEED, name=NAME)


TRANSFORMS = {
    "functionalize": lambda f: torch.func.functionalize(f)(torch.ones(4, 3)),
    "make_fx": lambda f: make_fx(f)(torch.ones(4, 3))(torch.ones(4, 3)),
    "grad": lambda f: torch.func.grad(lambda x: f(x).sum())(torch.ones(4, 3)),
    "vmap": lambda f: torch.func.vmap(f)(torch.ones(2, 4, 3))[1],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("function", [drawn, bound, given])
def test_transforms_and_tracers_see_the_draw(transform, function):
    expected = HE((4, 3), backend="torch", seed=SEED, name=NAME)
    assert torch.equal(TRANSFORMS[transform](function), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", [drawn, bound, given])
def test_jit_trace_is_refused(function):
    with pytest.raises(InitspecTypeError, match=r"torch\.jit\.trace"):
        torch.jit.trace(function, torch.ones(4, 3), check_trace=False)


def test_vmap_needs_a_seed():
    with pytest.raises(InitspecValueError, match="vmap"):
        torch.func.vmap(lambda x: x * HE((4, 3), backend="torch"))(torch.ones(2, 4, 3))


def test_huge_pages_are_asked_for_under_large_new_tensors_alone(monkeypatch):
    asked = []
    module = sys.modules["initspec_torch.backend"]  # its name in the package is the object's
    monkeypatch.setattr(module, "prefer_huge_pages", asked.append)
    large = initspec.he_normal((1024, 1024), backend="torch", seed=0, dtype="float32")
    assert [each.ctypes.data for each in asked] == [large.data_ptr()]
    initspec.he_normal((1024, 1023), backend="torch", seed=0)
    initspec.he_normal((1024, 1024), backend="torch", device="meta")
    initspec.he_normal(out=large, seed=0)
    with FakeTensorMode():
        initspec.he_normal((1024, 1024), backend="torch", seed=0)
    assert len(asked) == 1
