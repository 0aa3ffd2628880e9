"""TensorFlow makes the reference's bits in eager mode, in ``tf.function`` and under XLA."""

import dataclasses
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from samples import bits

import initspec
from initspec import stream
from initspec.fill_plan import DTYPES

tf = pytest.importorskip("tensorflow")

from tensorflow_checks import MODES, adapter, backend, graph, in_each_mode, reference  # noqa: E402

DRAWS = {
    "uniform": initspec.uniform(-0.25, 0.25),
    "uniform off centre": initspec.uniform(-0.1, 0.35),
    "normal": initspec.normal(0.05),
    "normal with mean": initspec.normal(0.05, mean=-1.0),
    "subnormal in float16": initspec.normal(3e-6),
    "truncated": initspec.truncated_normal(0.05),
    "truncated on one side": initspec.truncated_normal(1.5, mean=3.0, low=-0.5, high=None),
}
LAYOUTS = {
    "": ((), {}),
    "I": ((13,), {}),
    "O": ((21,), {}),
    "OI": ((33, 70), {}),
    "IO": ((70, 33), {}),
    "OIHW": ((5, 3, 3, 3), {}),
    "HWIO": ((3, 3, 3, 37), {}),
    "IOO": ((6, 3, 11), {}),
    "OIS": ((3, 5, 40), {}),
    "(G O) I H W": ((12, 2, 3, 3), {"groups": 4}),
    "I (4 O)": ((7, 20), {}),
    "I (3 O)": ((7, 15), {"blocks": ("q", "k", "v")}),
}
normal = DRAWS["normal"]


def made(mode, init, shape, dtypes=DTYPES, seed=1, name="w", **options):
    """What TensorFlow makes: an array for each dtype."""

    def make():
        common = {"backend": "tensorflow", "seed": seed, "name": name, **options}
        return [init(shape, dtype=dtype, **common) for dtype in dtypes]

    tensors = MODES[mode](make)()
    assert [tensor.dtype.name for tensor in tensors] == list(dtypes)
    return [backend.to_host(tensor) for tensor in tensors]


def assert_equals_reference(mode, init, shape, dtypes=DTYPES, **options):
    for dtype, found in zip(dtypes, made(mode, init, shape, dtypes, **options), strict=True):
        expected = reference(init, shape, dtype, **options)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_array_equal(bits(found), bits(expected))


# --- the same bits in every mode ----------------------------------------------------------------


@in_each_mode
@pytest.mark.parametrize("draw", DRAWS)
def test_every_draw_in_every_dtype(draw, mode):
    assert_equals_reference(mode, DRAWS[draw], (37, 131))


@in_each_mode
@pytest.mark.parametrize("pattern", LAYOUTS)
def test_every_layout(pattern, mode):
    shape, options = LAYOUTS[pattern]
    assert_equals_reference(mode, normal, shape, ["float32"], layout=pattern, **options)


@in_each_mode
@pytest.mark.parametrize("inputs", [0, 1, 3, 4, 5, 127, 128, 129])
def test_sizes_around_the_edges_of_blocks(inputs, mode):
    assert_equals_reference(mode, normal, (inputs, 3), ["float32", "bfloat16"])


@in_each_mode
def test_a_large_tensor(mode):
    init = initspec.he_normal
    assert_equals_reference(mode, init, (3, 3, 97, 113), ["float32", "bfloat16"], layout="HWIO")


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize(
    ("pattern", "part"),
    [("OI", 50), ("OI", 300), ("IO", 600), ("OIHW", 48), ("HWIO", 600), ("I (3 O)", 80)],
)
def test_many_small_parts_of_which_the_last_is_not_full(pattern, part, mode, monkeypatch):
    monkeypatch.setattr(graph, "_PART", part)
    shape, options = LAYOUTS[pattern]
    assert_equals_reference(mode, normal, shape, ["float32"], layout=pattern, **options)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("pattern", ["SIO", "SOI"])
def test_a_box_of_a_larger_tensor(pattern, mode):
    plan = backend.plan(normal, (2, 9, 7), "float32", {"layout": pattern}, 1, "w")
    plan = dataclasses.replace(plan, origin=(3, 5, 8))
    expected = np.empty(plan.shape, np.float32)
    stream.fill(plan, expected, "float32")
    found = MODES[mode](lambda: backend.emit(plan, "float32", None))()
    np.testing.assert_array_equal(bits(found.numpy()), bits(expected))


@pytest.mark.parametrize("layout", ["IO", "OI", "VO"])
def test_parts_need_little_memory_beside_the_tensor(layout):
    """Of no op is the result as large as the tensor, but for those that put it together."""
    options = {"backend": "tensorflow", "seed": 1, "layout": layout}
    function = MODES["graph"](lambda: normal((512, 1024), **options))
    definition = function.get_concrete_function().graph.as_graph_def(add_shapes=True)
    large = set()
    for node in definition.node:
        for shape in node.attr["_output_shapes"].list.shape:
            if np.prod([max(dim.size, 1) for dim in shape.dim], dtype=int) >= 512 * 1024:
                large.add(node.op)
    assert large <= {"TensorListStack", "Reshape", "StridedSlice", "Transpose", "Identity"}


@in_each_mode
@pytest.mark.parametrize("seed", [0, 2**32, 2**64 - 1])
def test_every_bit_of_the_seed(seed, mode):
    assert_equals_reference(mode, normal, (5, 6), ["float32"], seed=seed, name="ä/kernel")


STRUCTURED = {
    "constant": (initspec.constant(0.1), (3, 4), {}),
    "zeros, empty": (initspec.zeros, (3, 0, 4), {"layout": "SIO"}),
    "identity": (initspec.identity(0.3), (5, 7), {}),
    "dirac": (initspec.dirac, (3, 3, 4, 8), {"layout": "HWIO", "groups": 2}),
    "bilinear": (initspec.bilinear, (4, 5, 2, 3), {}),
    "sparse": (initspec.sparse(sparsity=0.3, std=0.1), (50, 9), {}),
    "sparse per input": (initspec.sparse(sparsity=0.3, std=0.1, per="input"), (9, 50), {}),
    "sparse, nothing is zero": (initspec.sparse(sparsity=0.0, std=0.1), (9, 5), {}),
    "sparse blocks": (
        initspec.sparse(sparsity=0.5, std=0.1),
        (2, 6, 10),
        {"layout": "SIO", "blocks": ("a", "b")},
    ),
    "orthogonal": (initspec.orthogonal(), (20, 10), {}),
    "delta_orthogonal": (initspec.delta_orthogonal, (3, 2, 4, 6), {}),
}


@in_each_mode
@pytest.mark.parametrize("content", STRUCTURED)
def test_structured_contents(content, mode):
    init, shape, options = STRUCTURED[content]
    assert_equals_reference(mode, init, shape, ["float32", "bfloat16"], **options)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_sparse_with_equal_words_takes_the_first(mode, monkeypatch):
    words = np.full((1, 1, 3, 8), 2**29, np.uint64)
    words[..., 1] += 1
    monkeypatch.setattr(graph, "_words", lambda plan, purpose: tf.constant(words))
    (found,) = made(mode, initspec.sparse(sparsity=0.5, std=0.1), (8, 3), ["float32"])
    np.testing.assert_array_equal(found[:, 0] == 0, np.isin(np.arange(8), [0, 2, 3, 4]))


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("draw", DRAWS)
def test_words_around_powers_of_two(draw, mode):
    powers = 2 ** np.arange(33)
    near = (powers[:, None] + np.arange(-130, 131)).reshape(-1)
    words = np.concatenate([near, -near]).astype(np.uint32)
    content = backend.plan(DRAWS[draw], (2, 2), "float32", {}, 1, "w").content
    found = MODES[mode](lambda: graph._integers(content, tf.constant(words, tf.uint64)))()
    np.testing.assert_array_equal(found, stream.integers(content, words))


# --- rounding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_tie_and_its_neighbours(dtype, mode):
    largest = 0x7BFF if dtype == "float16" else 0x7F7E
    patterns = np.arange(largest, dtype=np.uint16)
    if dtype == "float16":
        values = patterns.view(np.float16).astype(np.float32)
    else:  # the first 128 are subnormal in float32, which no draw is
        values = (patterns[128:].astype(np.uint32) << 16).view(np.float32)
    ties = values[1:] / 2 + values[:-1] / 2
    ties = np.concatenate([ties, np.nextafter(ties, 0), np.nextafter(ties, np.inf), values])
    ties = np.float32([ties, -ties])
    function = MODES[mode](lambda: graph._narrow(tf.constant(ties), dtype))
    found = backend.to_host(function())
    np.testing.assert_array_equal(bits(found), bits(stream._narrow(ties, dtype)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_xla_keeps_the_rounding_of_a_value_that_is_used_in_float32(dtype):
    def make():
        narrow = normal((64, 65), backend="tensorflow", dtype=dtype, seed=1, name="w")
        return tf.cast(narrow, tf.float32) * 3.0

    expected = tf.constant(reference(normal, (64, 65), dtype))
    if dtype == "bfloat16":
        expected = tf.bitcast(expected, tf.bfloat16)
    np.testing.assert_array_equal(MODES["xla"](make)(), tf.cast(expected, tf.float32) * 3.0)


def test_nothing_large_is_folded_into_the_program():
    function = MODES["xla"](lambda: normal((300, 400), backend="tensorflow", seed=1))
    program = function.experimental_get_compiler_ir()(stage="optimized_hlo")
    assert "f32[300,400]" in program
    assert "[300,400]{1,0} constant" not in program


# --- keys that are known when the graph runs ----------------------------------------------------


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("content", ["normal", "sparse", "orthogonal", "wide", "delta"])
def test_symbolic_keys(content, jit):
    init, shape, layout = {
        "normal": (normal, (7, 15), "I (3 O)"),
        "sparse": (initspec.sparse(sparsity=0.4, std=0.1), (7, 15), "I (3 O)"),
        "orthogonal": (initspec.orthogonal(2.0), (7, 15), "I (3 O)"),
        "wide": (initspec.orthogonal(), (16, 4, 5), "ISO"),
        "delta": (initspec.delta_orthogonal, (3, 4, 4, 12), "HWI (3 O)"),
    }[content]
    blocks = ("a", "b", "c") if "3" in layout else None
    options = {"layout": layout, "blocks": blocks}
    plan = backend.plan(init, shape, "float32", options, 1, "w")

    @tf.function(jit_compile=jit, autograph=False)
    def make(keys):
        traced = tuple(tuple(tf.unstack(key)) for key in tf.unstack(keys))
        return backend.emit(plan.with_keys(traced), "float32", None)

    found = make(tf.constant(plan.keys, tf.uint64)).numpy()
    expected = reference(init, shape, **options)
    if plan.promise == "bits":
        np.testing.assert_array_equal(bits(found), bits(expected))
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fresh_keys_are_those_of_the_seed_that_was_drawn(monkeypatch):
    drawn = np.array([0x89ABCDEF, 0x01234567])
    monkeypatch.setattr(tf.random, "uniform", lambda *a, **k: tf.constant(drawn, tf.int64))
    salt = 0xFEDCBA9876543210
    keys = MODES["graph"](lambda: graph.fresh_keys(["a", "b#0"], salt))()
    seed = 0x0123456789ABCDEF ^ salt
    assert [tuple(map(int, key)) for key in keys] == [stream.key(seed, n) for n in ("a", "b#0")]


@in_each_mode
def test_no_seed_makes_new_weights_at_every_call(mode):
    function = MODES[mode](lambda: [normal((8, 9), backend="tensorflow") for _ in range(2)])
    weights = [tensor.numpy() for _ in range(2) for tensor in function()]
    assert len({array.tobytes() for array in weights}) == 4
    assert np.std(weights) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_set_seed_governs(mode):
    def twice():
        tf.random.set_seed(7)
        function = MODES[mode](lambda: normal((8, 9), backend="tensorflow"))
        return [function().numpy().tobytes() for _ in range(2)]

    first, again = twice(), twice()
    assert first == again
    assert len(set(first)) == 2


def test_two_functions_differ_under_one_seed():
    tf.random.set_seed(7)
    make = lambda: normal((8, 9), backend="tensorflow")  # noqa: E731
    first, second = (MODES["graph"](make)().numpy() for _ in range(2))
    assert (first != second).any()


def test_a_constant_moves_no_generator():
    tf.random.set_seed(7)
    initspec.zeros((3, 4), backend="tensorflow")
    first = backend.fresh_seed()
    tf.random.set_seed(7)
    assert backend.fresh_seed() == first
    assert backend.fresh_seed() != first


# --- inside programs ----------------------------------------------------------------------------


def test_autograph_and_loops():
    @tf.function
    def total(n):
        result = tf.zeros((3, 4))
        for _ in tf.range(n):
            result += normal((3, 4), backend="tensorflow", seed=1, name="w")
        return result

    np.testing.assert_array_equal(total(tf.constant(2)), 2 * reference(normal, (3, 4)))


def test_variables_that_a_function_creates():
    bound = normal.bind("tensorflow", seed=1, name="w")

    class Model(tf.Module):
        weights = None

        @tf.function
        def __call__(self):
            if self.weights is None:
                plain = tf.Variable(lambda: normal((3, 4), backend="tensorflow", seed=1, name="w"))
                fresh = tf.Variable(lambda: normal((3, 4), backend="tensorflow"))
                self.weights = [plain, tf.Variable(lambda: bound((3, 4))), fresh]
            return [tf.identity(weight) for weight in self.weights]

    model = Model()
    for _ in range(2):
        plain, named, fresh = model()
        np.testing.assert_array_equal(plain, reference(normal, (3, 4)))
        np.testing.assert_array_equal(named, reference(normal, (3, 4)))
        assert (fresh != plain).numpy().all()


def test_graphs_of_tensorflow_1():
    with tf.Graph().as_default():
        fixed = normal((3, 4), backend="tensorflow", seed=1, name="w")
        fresh = normal((3, 4), backend="tensorflow")
        with tf.compat.v1.Session() as session:
            np.testing.assert_array_equal(session.run(fixed), reference(normal, (3, 4)))
            assert (session.run(fresh) != session.run(fresh)).any()


def test_saved_model(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[])
        def fixed(self):
            return normal((3, 4), backend="tensorflow", seed=1, name="w")

        @tf.function(input_signature=[])
        def fresh(self):
            return normal((3, 4), backend="tensorflow")

    tf.saved_model.save(Model(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.fixed(), reference(normal, (3, 4)))
    assert (loaded.fresh() != loaded.fresh()).numpy().any()


def test_the_number_of_threads_changes_nothing():
    script = """
import sys, tensorflow as tf, initspec
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
make = lambda: initspec.normal(0.05)((300, 400), backend="tensorflow", seed=1, name="w")
for function in (make, tf.function(make)):
    print(hash(function().numpy().tobytes()))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, threads],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in "12"
    ]
    output = [run.communicate(timeout=120)[0].split() for run in runs]
    assert output[0] == output[1]
    assert len(output[0]) == 2
    assert len(set(output[0])) == 1


def test_the_first_call_of_all_may_be_in_a_graph(tmp_path):
    """AutoGraph does not try to convert the import of the adapter, and so does not warn."""
    script = tmp_path / "first.py"  # AutoGraph leaves code without a file alone
    script.write_text(
        "import initspec, tensorflow as tf\n"
        "@tf.function\n"
        "def make():\n"
        "    return initspec.he_normal((3, 2), backend='tensorflow', seed=1)\n"
        "print(make().shape)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert "(3, 2)" in done.stdout
    assert "AutoGraph" not in done.stdout + done.stderr


# --- the memory of eager tensors ----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0, 3), (1, 1), (5, 1), (31, 33)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_aligned_as_tensorflow_needs_it(shape, dtype):
    plan = backend.plan(normal, shape, dtype, {"layout": "IO"[: len(shape)]}, 1, "w")
    array = adapter._host_array(plan, dtype)
    assert array.ctypes.data % 64 == 0
    tensor = backend.emit(plan, dtype, None)
    assert tf.math.count_nonzero(tensor + tensor) == np.prod(shape, dtype=int)


def test_tensors_survive_threads_variables_and_each_other():
    expected = {shape: reference(normal, shape) for shape in ((3, 1), (31, 33), (300, 40))}
    wrong = []

    def work():
        kept = []
        for shape, array in list(expected.items()) * 30:
            kept.append((normal(shape, backend="tensorflow", seed=1, name="w"), array))
            variable = tf.Variable(kept[-1][0])
            variable.assign_add(tf.ones(shape))  # must not write into the tensor's memory
            del kept[:-20]
        wrong.extend(t for t, array in kept if not np.array_equal(t.numpy(), array))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_xla_does_not_merge_what_follows_with_the_draw(dtype):
    """What the user does acts on the values, as it does on a tensor from outside."""
    init = initspec.normal(0.1)
    options = {"backend": "tensorflow", "seed": 1, "name": "w", "dtype": dtype}

    def follow(w):
        return [w, w * 3, w + 0.1, w * 3 + 0.1, 1 / (w + 7)]

    eager = init((64, 64), **options)
    control = tf.function(follow, jit_compile=True, autograph=False)(eager)
    inside = tf.function(lambda: follow(init((64, 64), **options)), jit_compile=True)()
    for found, expected in zip(inside, control, strict=True):
        np.testing.assert_array_equal(bits(found.numpy()), bits(expected.numpy()))
