"""TensorFlow: variables as out, devices, bound initializers, and what is refused."""

import numpy as np
import pytest
from samples import bits

import initspec
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import DTYPES

tf = pytest.importorskip("tensorflow")

from tensorflow_checks import MODES, backend, in_each_mode, reference  # noqa: E402

normal = initspec.normal(0.05)


# --- out, device, and what is refused -----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_out_is_a_variable(mode, dtype):
    variable = tf.Variable(tf.zeros((5, 6), dtype))

    def write():
        assert normal(out=variable, seed=1, name="w") is variable

    MODES[mode](write)()
    found = backend.to_host(variable)
    np.testing.assert_array_equal(bits(found), bits(reference(normal, (5, 6), dtype)))


@pytest.mark.parametrize(
    ("out", "options", "error"),
    [
        (lambda: tf.zeros((2, 3)), {}, "a tf.Variable"),
        (lambda: tf.Variable(tf.zeros((2, 3), tf.int32)), {}, "float32, float64"),
        (lambda: tf.Variable(tf.zeros((2, 3))), {"shape": (3, 3)}, "the shape of out"),
        (lambda: tf.Variable(tf.zeros((2, 3))), {"dtype": "float16"}, "the dtype of out"),
        (lambda: tf.Variable(tf.zeros((2, 3)), shape=tf.TensorShape(None)), {}, "known rank"),
    ],
)
def test_out_that_cannot_be_written(out, options, error):
    target = out()
    before = target.numpy().copy()
    with pytest.raises(InitspecError, match=error):
        normal(out=target, **options)
    np.testing.assert_array_equal(target, before)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("device", ["/CPU:0", "cpu", "tensor", "logical"])
def test_devices(device, mode):
    if device == "tensor":
        device = tf.zeros(()).device
    elif device == "logical":
        device = tf.config.list_logical_devices("CPU")[0]
    function = MODES[mode](lambda: normal((2, 3), backend="tensorflow", device=device))
    assert function().device.endswith("CPU:0")


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("device", ["/GPU:63", "/CPU:63", "/job:other/device:CPU:0", "nonsense"])
def test_devices_that_are_not_there(device, mode):
    function = MODES[mode](lambda: normal((2, 3), backend="tensorflow", device=device))
    with pytest.raises(InitspecValueError, match="device:CPU:0"):
        function()


def test_a_device_is_a_name():
    with pytest.raises(InitspecTypeError, match="device"):
        normal((2, 3), backend="tensorflow", device=0)


@pytest.mark.parametrize("dtype", ["complex64", "int8", "bool", "string", "float8_e4m3fn"])
def test_dtypes_that_are_refused(dtype):
    with pytest.raises(InitspecTypeError, match="dtype"):
        normal((2, 3), backend="tensorflow", dtype=dtype)
    if hasattr(tf, dtype):
        with pytest.raises(InitspecTypeError, match="dtype"):
            normal((2, 3), backend="tensorflow", dtype=getattr(tf, dtype))


def test_shapes_of_tensorflow():
    for shape in (tf.TensorShape([2, 3]), tf.constant([2, 3])):
        found = normal(shape, backend="tensorflow", dtype=tf.float32, seed=1, name="w")
        np.testing.assert_array_equal(found, reference(normal, (2, 3)))
    for shape in (tf.TensorShape([None, 3]), tf.TensorShape(None), tf.constant([2.0, 3.0])):
        with pytest.raises(InitspecTypeError, match="shape"):
            normal(shape, backend="tensorflow")


def test_shapes_that_are_known_only_when_the_graph_runs():
    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def check(x):
        for shape in (x.shape, tf.shape(x), (tf.shape(x)[0], 3)):
            with pytest.raises(InitspecTypeError, match="shape"):
                normal(shape, backend="tensorflow")
        return x

    check(tf.zeros((2, 3)))


@in_each_mode
@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 0.5}, {"name": 3}, {"name": "\ud800"}])
def test_bad_seeds_and_names(wrong, mode):
    options = {"backend": "tensorflow", "layout": "SI", "blocks": ("a", "b"), **wrong}
    function = MODES[mode](lambda: normal((2, 3), **options))
    with pytest.raises(InitspecError, match=next(iter(wrong))):
        function()


def test_to_host_refuses_what_has_no_values():
    @tf.function(autograph=False)
    def check():
        with pytest.raises(InitspecTypeError, match="tensor"):
            backend.to_host(tf.zeros(3))

    check()
    with pytest.raises(InitspecTypeError, match="tensor"):
        backend.to_host([1.0])


# --- bind ---------------------------------------------------------------------------------------


def test_bound_calls_never_repeat():
    bound = initspec.he_normal.bind("tensorflow", seed=1, name="w", layout="OI")
    for name in ("w", "w#1", "w#2"):
        expected = reference(initspec.he_normal, (3, 4), name=name, layout="OI")
        np.testing.assert_array_equal(bound((3, 4)), expected)
    assert bound((3, 4), dtype=tf.float64).dtype == tf.float64
    fresh = normal.bind("tensorflow")
    assert (fresh((3, 4)) != fresh((3, 4))).numpy().any()


def test_bound_errors_spend_no_name():
    bound = initspec.he_normal.bind("tensorflow", seed=1, name="w")
    for shape, dtype in (((None, 3), None), ((2, 3), tf.int32), ((3,), None)):
        with pytest.raises(InitspecError):
            bound(shape, dtype)
    np.testing.assert_array_equal(bound((3, 4)), reference(initspec.he_normal, (3, 4)))


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"name": 3}, {"grops": 2}, {"layout": "Q"}, {"layout": 3}]
)
def test_bind_checks_its_options(options):
    with pytest.raises(InitspecError, match=next(iter(options))):
        normal.bind("tensorflow", **options)


def test_bound_initializers_show_what_they_are():
    text = repr(normal.bind("tensorflow", seed=1, groups=2, blocks=(c for c in "ab")))
    assert "std=0.05" in text
    assert "groups=2" in text
    assert "blocks=('a', 'b')" in text
