"""Plain trees of arrays, of JAX and of NumPy: names, new trees, nothing done by halves."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tree_checks import SEED, close, stored

import initspec
from initspec import stream
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.layout import Layout
from initspec.models.model import Piece, Write
from initspec.models.slots import Part, Slot, Split, bind_slots
from initspec_numpy.model import open_model

Pair = namedtuple("Pair", "kernel bias")
HE = initspec.he_normal


@dataclass(frozen=True)
class Block:
    w: object
    note: str = "kept"
    made: object = field(init=False, default=None)


class Table(dict):
    """Of its own type, with an attribute."""


def numpy_model(tree):
    return open_model(tree, {})


def jax_model(tree):
    module = pytest.importorskip("initspec_jax.pytree")
    return module.pytree_model(tree, {})


def write_of(each, slots, init=HE):
    """As the core does it: the names of a config give the slots."""
    named = replace(each, parts=bind_slots(slots, "", each.shape))
    return Write(
        named,
        tuple(
            Piece(part, init.plan(part.shape, layout=part.layout, keys=(key_of(part),)))
            for part in named.parts
        ),
    )


def key_of(part):
    return stream.key(SEED, part.path)


def kernel(path, layout="IO", **options):
    return (Slot(path=path, role="kernel", layout=layout, **options),)


def tree():
    table = Table(deep=np.zeros((2, 2), np.float16))
    table.note = "kept"
    return OrderedDict(
        fc=Pair(np.zeros((3, 4), np.float32), np.zeros(4, np.float32)),
        blocks=[Block(np.ones((4, 4))), Block(np.ones((4, 4)))],
        table=table,
        steps=np.arange(3),
        rate=0.5,
        nothing=None,
    )


def test_names_are_paths():
    model = numpy_model(tree())
    names = ["fc/kernel", "fc/bias", "blocks/0/w", "blocks/1/w", "table/deep", "steps"]
    assert [each.name for each in model.tensors()] == names
    assert [each.path for each in model.tensors()] == names
    assert all(each.parts == () and not each.layer for each in model.tensors())
    assert {each.name for each in model.tensors() if each.buffer} == {"steps"}
    assert [each.dtype for each in model.tensors()][-3:] == ["float64", "float16", "int64"]
    assert (model.framework, model.backend, model.knobs()) == ("numpy", "numpy", ())


def test_a_new_tree_of_the_same_types():
    old = tree()
    model = numpy_model(old)
    found = stored(model)
    new = model.write(
        [
            write_of(found["fc/kernel"], kernel("a")),
            write_of(found["blocks/1/w"], kernel("b")),
            write_of(found["table/deep"], kernel("c")),
        ]
    )
    for name, array, shape, dtype in (
        ("a", new["fc"].kernel, (3, 4), "float32"),
        ("b", new["blocks"][1].w, (4, 4), "float64"),
        ("c", new["table"]["deep"], (2, 2), "float16"),
    ):
        expected = HE(shape, layout="IO", seed=SEED, name=name, dtype=dtype)
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == dtype
    assert [type(new[key]) for key in ("fc", "blocks", "table")] == [Pair, list, Table]
    assert type(new) is OrderedDict
    assert list(new) == list(old)
    assert (new["table"].note, new["blocks"][1].note) == ("kept", "kept")
    assert new["steps"] is old["steps"]
    assert new["blocks"][0].w is old["blocks"][0].w
    assert (new["rate"], new["nothing"]) == (0.5, None)
    assert not old["fc"].kernel.any()
    assert not old["table"]["deep"].any()


def test_read_only_and_strided_arrays_are_no_obstacle():
    old = np.zeros((6, 4), np.float32)[::2].T
    old.flags.writeable = False
    model = numpy_model({"w": old})
    new = model.write([write_of(stored(model)["w"], kernel("a"))])["w"]
    np.testing.assert_array_equal(new, HE((4, 3), layout="IO", seed=SEED, name="a"))
    assert new.flags.writeable
    assert not old.any()


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = numpy_model([np.zeros((3, 4), ml_dtypes.bfloat16)])
    (each,) = model.tensors()
    assert (each.dtype, each.trainable, each.buffer) == ("bfloat16", True, False)
    new = model.write([write_of(each, kernel("a"))])[0]
    np.testing.assert_array_equal(
        new, HE((3, 4), layout="IO", seed=SEED, name="a", dtype="bfloat16")
    )
    assert model.read("0").dtype == np.uint16


@pytest.mark.parametrize("make", [numpy_model, jax_model])
def test_a_part_of_an_array_leaves_the_rest(make):
    model = make({"w": np.full((4, 5), 7, np.float32)})
    halves = Split(axis=1, parts=("x", "y"), sizes=(2, 3))
    slots = kernel("{part}/kernel", splits=(halves,))
    write = write_of(stored(model)["w"], slots)
    new = np.asarray(model.write([Write(write.stored, write.pieces[:1])])["w"])
    np.testing.assert_array_equal(new[:, :2], HE((4, 2), layout="IO", seed=SEED, name="x/kernel"))
    assert (new[:, 2:] == 7).all()


@pytest.mark.parametrize("make", [numpy_model, jax_model])
def test_bad_trees(make):
    for nothing in ({}, [], {"a": 1.0}):
        with pytest.raises(InitspecTypeError, match="arrays"):
            make(nothing)
    with pytest.raises(InitspecValueError, match="a/b"):
        make({"a/b": np.zeros(2), "a": {"b": np.zeros(2)}})


def test_a_tree_that_contains_itself():
    loop = {"w": np.zeros(2)}
    loop["self"] = loop
    with pytest.raises(InitspecValueError, match="contain itself"):
        numpy_model(loop)
    shared = [np.zeros(2)]
    assert len(numpy_model([shared, shared]).tensors()) == 2


@pytest.mark.parametrize("make", [numpy_model, jax_model])
def test_bad_writes_write_nothing(make):
    model = make({"a": np.zeros((2, 3), np.float32), "n": np.arange(6).reshape(2, 3)})
    good = write_of(stored(model)["a"], kernel("a"))
    for name, error, changes in (
        ("b", InitspecValueError, {"name": "b"}),
        ("a", InitspecValueError, {"shape": (3, 2)}),
        ("a", InitspecValueError, {"dtype": "float64"}),
    ):
        with pytest.raises(error, match=name):
            model.write([good, Write(replace(good.stored, **changes), good.pieces)])
    with pytest.raises(InitspecTypeError):
        model.write([good, write_of(stored(model)["n"], kernel("n"))])
    with pytest.raises(InitspecValueError, match="Did you mean 'a'"):
        model.read("aa")


def test_foreign_byte_order_is_refused():
    model = numpy_model({"a": np.zeros((2, 3), np.dtype("f4").newbyteorder())})
    with pytest.raises(InitspecValueError, match="byte order"):
        model.write([write_of(stored(model)["a"], kernel("a"))])


def test_a_pytree_of_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    old = {"fc": Pair(jnp.zeros((3, 4)), jnp.zeros(4)), "n": jnp.arange(3), "rate": 0.5}
    model = jax_model(old)
    assert [each.name for each in model.tensors()] == ["fc/kernel", "fc/bias", "n"]
    assert stored(model)["n"].buffer
    new = model.write([write_of(stored(model)["fc/kernel"], kernel("a"))])
    np.testing.assert_array_equal(new["fc"].kernel, HE((3, 4), layout="IO", seed=SEED, name="a"))
    assert new["fc"].bias is old["fc"].bias
    assert new["rate"] == 0.5
    assert isinstance(new["fc"].kernel, jax.Array)
    assert (model.framework, model.backend, model.knobs()) == ("jax", "jax", ())


def test_an_abstract_pytree_becomes_real_or_nothing():
    jax = pytest.importorskip("jax")
    abstract = {
        "w": jax.ShapeDtypeStruct((3, 4), "bfloat16"),
        "b": jax.ShapeDtypeStruct((4,), "f4"),
    }
    model = jax_model(abstract)
    w = write_of(stored(model)["w"], kernel("a"))
    b = write_of(stored(model)["b"], kernel("b", "O"), initspec.normal(1.0))
    new = model.write([w, b])
    expected = HE((3, 4), layout="IO", seed=SEED, name="a", dtype="bfloat16")
    np.testing.assert_array_equal(np.asarray(new["w"]), expected)
    with pytest.raises(InitspecValueError, match="b: got ShapeDtypeStruct"):
        model.write([w])
    with pytest.raises(InitspecValueError, match="values"):
        model.read("w")


def test_a_registered_dataclass_of_jax():
    jax = pytest.importorskip("jax")

    @jax.tree_util.register_dataclass
    @dataclass
    class Layer:
        w: object

    model = jax_model({"layers": [Layer(np.zeros((2, 3), np.float32))]})
    new = model.write([write_of(stored(model)["layers/0/w"], kernel("a"))])
    close(new["layers"][0].w, HE((2, 3), layout="IO", seed=SEED, name="a"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_sign_and_shift(dtype):
    """What a layer negates and adds to is stored so that it comes out as drawn."""
    pytest.importorskip("ml_dtypes")
    model = numpy_model({"b": np.zeros(6, "float32").astype(dtype)})
    slots = tuple(
        Slot(path=path, role="bias", layout="O", region=(region,), **options)
        for path, region, options in (
            ("plain", slice(0, 2), {}),
            ("more", slice(2, 4), {"shift": 1.0}),
            ("half", slice(4, 6), {"shift": 0.5}),
        )
    )
    write = write_of(stored(model)["b"], slots, initspec.constant(1.0))
    np.testing.assert_array_equal(model.write([write])["b"].astype("f8"), [1, 1, 0, 0, 0.5, 0.5])
    part = Part(
        path="p",
        role="bias",
        kind="other",
        layout=Layout.parse("O"),
        region=(slice(0, 6),),
        shape=(6,),
        negate=True,
        shift=2.0,
    )
    one = Piece(part, initspec.constant(1.0).plan((6,), layout="O"))
    whole = Write(replace(stored(model)["b"], parts=(part,)), (one,))
    np.testing.assert_array_equal(model.write([whole])["b"].astype("f8"), [-3.0] * 6)
