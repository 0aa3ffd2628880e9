"""``initspec stream-words``: the bytes are the stream's, in the order that was asked for."""

import math
import os
import random
import subprocess
import sys
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initspec import stream
from initspec.cli import main, stream_words
from initspec.cli.stream_words import KINDS, ORDERS, stream_bytes
from initspec.errors import InitspecValueError

CHUNK = 2**16  # words
SEED = 0x0123_4567_89AB_CDEF


@pytest.fixture(autouse=True)
def _kernel(monkeypatch):
    monkeypatch.delenv("INITSPEC_KERNEL", raising=False)


@pytest.fixture
def call(capsysbinary):
    """Run the verb in this process: exit code, stdout as bytes, stderr as text."""

    def run(arguments):
        try:
            code = main(["stream-words", *arguments.split()])
        except SystemExit as exit:
            code = exit.code
        captured = capsysbinary.readouterr()
        return code, captured.out, captured.err.decode()

    return run


def drawn(order, kind="words", chunks=1, seed=SEED, name="w"):
    """The first chunks."""
    data = b"".join(islice(stream_bytes(order, kind, seed, name), chunks))
    return np.frombuffer(data, "<u4" if kind == "words" else "<u2")


# --- the order --------------------------------------------------------------------------------


def place(order, position):
    """Seed, name, s, o and j of a word, as the documentation gives them."""
    tensor, inside = divmod(position, 64)
    if order == "seeds":
        return SEED + tensor, "w", 0, inside // 8, inside % 8
    if order == "names":
        return SEED, f"w{tensor}", 0, inside // 8, inside % 8
    if order == "plain":
        return SEED, "w", 0, position // 2**20, position % 2**20
    if order == "transposed":
        return SEED, "w", 0, position % 2**14, position // 2**14
    tile, inside = divmod(position, 4 * 2**14)
    s, o, j = inside % 2**7, inside // 2**7 % 2**7, inside // 2**14
    return SEED, "w", s, tile * 2**7 + o, j


@pytest.mark.parametrize("order", ORDERS)
def test_words_are_those_of_the_reference(order):
    chunks = 18  # plain is in its second row by then
    words = drawn(order, chunks=chunks)
    ends = [n * CHUNK + d for n in range(chunks) for d in (0, 1, 63, 64, 2**14, CHUNK - 1)]
    choice = random.Random(4)
    for position in [*ends, *(choice.randrange(words.size) for _ in range(200))]:
        seed, name, s, o, j = place(order, position)
        block = stream.philox4x32((j >> 2, o, s, 0), stream.key(seed, name))
        assert words[position] == block[j & 3], (position, seed, name, s, o, j)


@pytest.mark.parametrize("order", ["plain", "transposed", "interleaved"])
@given(st.lists(st.integers(0, 2**35 - 1), min_size=2, max_size=2, unique=True))
def test_chunks_never_overlap_and_never_leave_the_counters(order, chunks):
    """Boxes of coordinates, of the sizes that a chunk has along s, o and j."""
    size = {"plain": (1, 1, CHUNK), "transposed": (1, 2**14, 4), "interleaved": (128, 128, 4)}
    first, second = (ORDERS[order].origin(chunk) for chunk in chunks)
    limits = (2**32, 2**32, 2**20 if order == "plain" else 2**34)
    assert all(
        start % n == 0 and start + n <= limit
        for origin in (first, second)
        for start, n, limit in zip(origin, size[order], limits, strict=True)
    )
    assert first != second


@pytest.mark.parametrize("order", ["plain", "transposed", "interleaved"])
def test_the_last_chunk_can_be_drawn(monkeypatch, order):
    """The origin is largest there."""
    last = ORDERS[order].origin(stream_words._CHUNKS - 1)
    monkeypatch.setitem(vars(ORDERS[order]), "origin", lambda chunk: last)
    words, (s, o, j) = drawn(order), last
    block = stream.philox4x32((j >> 2, o, s, 0), stream.key(SEED, "w"))
    assert words[0] == block[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_reference_alone_gives_the_same_bytes(monkeypatch, order, kind):
    fast = drawn(order, kind, chunks=2)
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    assert np.array_equal(drawn(order, kind, chunks=2), fast)


@pytest.mark.parametrize("order", ORDERS)
def test_seed_and_name_count(order):
    first = drawn(order)
    assert not np.array_equal(drawn(order, seed=SEED + 2**32), first)
    assert not np.array_equal(drawn(order, name="v"), first)


def test_memory_is_bounded():
    chunks = stream_bytes("names", "normal", 0, "w")
    next(chunks)
    tracemalloc.start()
    for _ in islice(chunks, 8):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6


# --- the kinds --------------------------------------------------------------------------------


def test_the_cdf_is_the_normal_one():
    z = np.random.default_rng(0).uniform(-6.4, 6.4, 10**4)
    exact = [math.erfc(-x / math.sqrt(2)) / 2 for x in z.tolist()]
    assert np.abs(stream_words._cdf(z) - exact).max() < 1.1e-12


@pytest.mark.parametrize("order", ORDERS)
def test_uniform_draws_map_back_to_the_upper_half_of_their_word(order):
    quantile = drawn(order) ^ np.uint32(2**31)
    assert np.array_equal(drawn(order, "uniform"), quantile >> 16)


@pytest.mark.parametrize("order", ORDERS)
def test_normal_draws_map_back_to_within_eleven_words(order):
    quantile = (drawn(order, chunks=4) ^ np.uint32(2**31)).astype(np.int64)
    low, high = (quantile - 11) >> 16, (quantile + 11) >> 16
    mapped = drawn(order, "normal", chunks=4)
    assert ((low <= mapped) & (mapped <= high)).all()
    assert (low == high).mean() > 0.999


def test_the_grid_of_the_normal_shows_in_no_cell():
    """All words of some cells, drawn: each cell gets its 2**16, to about 1e-4."""
    first = 2**31 - 2**20
    quantile = np.arange(first, first + 2**21, dtype=np.uint32)
    z = stream.normal(quantile ^ np.uint32(2**31)) * 2.0**-28
    counts = np.bincount(stream_words._words("normal", z))
    inner = counts[counts > 0][1:-1]
    assert inner.size >= 30
    assert np.abs(inner / 2**16 - 1).max() < 3e-4


# --- the program ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("4", 4), ("300000B", 300000), ("256KiB", 2**18), ("1MiB", 2**20)]
)
def test_bytes_are_exact(call, text, size):
    code, out, err = call(f"--bytes {text} --seed {SEED}")
    assert (code, err) == (0, "")
    assert out == drawn("plain", chunks=5).tobytes()[:size]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_options_reach_the_stream(call, order, kind):
    code, out, _ = call(f"--order {order} --kind {kind} --seed 0x10 --name v --bytes 64KiB")
    assert code == 0
    assert out == drawn(order, kind, seed=16, name="v").tobytes()[: 2**16]


def test_reversed_bits(call):
    _, straight, _ = call("--bytes 300000")
    _, mirrored, _ = call("--bytes 300000 --reversed-bits")
    words = np.frombuffer(straight, "<u4").tolist()
    assert np.frombuffer(mirrored, "<u4").tolist() == [int(f"{w:032b}"[::-1], 2) for w in words]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--bytes 3", "'3': expected a multiple of 4"),
        ("--bytes 0", "'0': expected a multiple of 4"),
        ("--bytes -4", "'-4': expected a multiple of 4"),
        (f"--bytes {'4' * 5000}", "expected a multiple of 4"),
        ("--bytes 64GB", "as in 512MiB or 64GiB"),
        ("--bytes 4097TiB", "up to 4096TiB"),
        ("--seed x", "'x': expected an integer"),
        ("--seed -1", "[0, 2**64)"),
        ("--seed 0x10000000000000000", "[0, 2**64)"),
        ("--seed 0x8000000000000000 --order seeds", "[0, 2**63)"),
        ("--order words", "'plain'"),
        ("--kind float", "'uniform'"),
        (f"--name {'w' * 65530} --order names", "at most 65536 bytes"),
    ],
)
def test_bad_arguments_write_nothing(call, arguments, complaint):
    code, out, err = call(f"--bytes 4 {arguments}")
    assert (code, out) == (2, b"")
    last = err.splitlines()[-1]
    assert last.startswith("initspec stream-words: ")
    assert complaint in last


@pytest.mark.parametrize(("order", "kind"), [("rows", "words"), ("plain", "norml")])
def test_unknown_orders_and_kinds_are_refused(order, kind):
    with pytest.raises(InitspecValueError, match="expected one of"):
        stream_bytes(order, kind, 0, "w")


def test_a_terminal_gets_no_bytes(call, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, err = call("--bytes 4")
    assert (code, out) == (2, b"")
    assert "expected a pipe or a file" in err


def test_without_end_until_the_reader_leaves():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", "from initspec.cli import main; exit(main())"]
    process = subprocess.Popen(
        [*command, "stream-words", "--seed", str(SEED)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(5 * 2**18) == drawn("plain", chunks=5).tobytes()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
