"""The reference: published vectors, golden vectors, accuracy, and chunks that leave no seam."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

import initspec
from initspec import stream
from initspec.draw import Draw, normal_draw, truncated_draw, uniform_draw
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec_conformance.generate_table import SHA256
from initspec_conformance.scan_normal import scan
from initspec_conformance.vectors import make

ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
# Random123, tests/kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (PI[:4], PI[4:], (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]
SEVEN_ROUNDS = [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]
FROZEN_VECTORS = "246946aac77321f7a57bda6b81eebba880aae157674a466ce4aebfaee8040c50"


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, words):
    assert stream.philox4x32(counter, key) == words


def test_philox_has_ten_rounds_not_seven():
    assert list(stream.philox4x32((0, 0, 0, 0), (0, 0))) != SEVEN_ROUNDS


def test_philox_agrees_with_the_ten_thousandth_word_of_cpp26():
    counter = (9999 // 4, 0, 0, 0)
    assert stream.philox4x32(counter, (20111115, 0))[9999 % 4] == 1955073260


def test_philox_is_the_same_for_ints_and_arrays():
    counter = tuple(np.array([word], np.uint64) for word in PI[:4])
    assert [int(word[0]) for word in stream.philox4x32(counter, PI[4:])] == list(
        KNOWN_ANSWERS[2][2]
    )


def test_golden_vectors_are_frozen_and_computed():
    text = make.PATH.read_bytes()
    assert hashlib.sha256(text).hexdigest() == FROZEN_VECTORS, "version 1 is frozen"
    assert json.loads(text) == make.vectors()


def test_golden_vectors_fit_their_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(make.PATH.with_suffix(".schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(make.PATH.read_text()))


def test_the_table_is_pinned_and_stated_in_the_specification():
    digest = hashlib.sha256(stream.TABLE.astype("<u4").tobytes()).hexdigest()
    assert digest == stream.TABLE_DIGEST == SHA256
    assert digest in (Path(__file__).parents[1] / "docs" / "spec.md").read_text()


def test_a_damaged_table_is_refused(tmp_path, monkeypatch):
    damaged = tmp_path / "table.bin"
    data = bytearray(stream.TABLE.astype("<u4").tobytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(stream, "_TABLE_FILE", damaged)
    with pytest.raises(initspec.InitspecError, match="damaged"):
        stream._load_table()


def test_normal_is_within_its_bound_of_the_exact_quantile():
    report = scan(exhaustive=False)
    assert report["max_error"] <= 2.0**-26
    assert report["max_error_units"] <= 1.66
    assert report["monotonicity_depth"] <= stream.MARGIN
    assert report["antisymmetric"]
    assert report["words"] > 9_000_000


def test_normal_to_the_last_word_of_the_tail():
    w = np.arange(1, 2**17, 2, dtype=np.int64)
    z = stream.normal(((ONES - w) >> 1).astype(np.uint32)) * 2.0**-28
    assert np.abs(z + ndtri(w * 2.0**-33)).max() <= 2.0**-26


@pytest.mark.parametrize(
    ("word", "tail"), [(0x7FFFFFFF, 2.0**-33), (0x80000000, 1 - 2.0**-33)], ids=["high", "low"]
)
def test_the_two_extreme_words(word, tail):
    z = int(stream.normal(np.array([word], np.uint32))[0])
    assert (
        abs(z * 2.0**-28 + ndtri(tail if tail < 0.5 else 2.0**-33) * (1 if tail < 0.5 else -1))
        <= 2.0**-26
    )
    assert (z > 0) == (word < 2**31)


def test_uniform_reaches_both_ends_and_never_zero():
    words = np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], np.uint32)
    z = stream.integers(Draw("uniform", 1.0), words)
    assert z.tolist() == [1, 1, 2**31 - 1, -(2**31) + 1, -1]


@pytest.mark.parametrize(
    "bounds", [(-2.0, 2.0), (-1.0, 2.5), (0.5, None), (None, -0.25), (-0.01, 0.01)]
)
def test_truncated_words_stay_inside_at_both_ends(bounds):
    low, high = bounds
    lo, width = stream.truncation(low, high)
    edge = 4096
    ends = np.concatenate([np.arange(edge), np.arange(width - edge, width)]) + lo
    z = stream.normal((ends.astype(np.uint64) ^ 2**31).astype(np.uint32)).astype(np.int64)
    assert low is None or z.min() >= math.ldexp(low, 28)
    assert high is None or z.max() <= math.ldexp(high, 28)
    # and nothing is given away: the next quantiles outside are already beyond, or one unit off
    if low is not None:
        before = stream.normal(np.array([(lo - 8) ^ 2**31], np.uint32))[0]
        assert before <= math.ldexp(low, 28) + 2


def test_truncation_is_symmetric():
    lo, width = stream.truncation(-2.0, 2.0)
    assert 2 * lo + width == 2**32


def draws():
    return [
        normal_draw(1.0),
        normal_draw(0.5, 3.0),
        truncated_draw(1.0, 0.0, -2.0, 2.0),
        truncated_draw(1.0, -1.0, -1.0, 2.0),
        uniform_draw(-1.0, 1.0),
        uniform_draw(0.0, 1.0),
    ]


def scalar_value(draw, key, s, o, j):
    """The specification once more, for one element, with Python integers and fractions only."""
    u = stream.philox4x32((j >> 2, o, s, draw.purpose), key)[j & 3]
    if draw.kind == "uniform":
        z = (u | 1) - (2**32 if u >> 31 else 0)
    else:
        v = u if draw.kind == "normal" else (draw.lo + (u * draw.width >> 32)) ^ 2**31
        z = scalar_normal(v)
    if draw.multiplier:
        product = abs(z) * draw.multiplier >> 32
        z = draw.offset + (product if z >= 0 else -product)
    return np.float32(z) * np.float32(draw.factor)


def scalar_normal(u):
    negative = u >> 31
    w = (~((u ^ (ONES if negative else 0)) << 1)) & ONES
    shift = 32 - w.bit_length()
    n = (w << shift) & ONES
    c0, c12 = (int(c) for c in stream.TABLE[(31 - shift) * 128 + ((n >> 24) & 127)])
    t = (n << 8) & ONES
    a = c0 - (t * (((c12 >> 12) << 1) - (t * (c12 & 0xFFF) >> 32)) >> 32)
    return -a if negative else a


@pytest.mark.parametrize("draw", draws(), ids=lambda draw: f"{draw.kind}-{draw.multiplier}")
def test_fill_equals_the_scalar_specification(draw):
    geometry = Layout.parse("SOI").bind((2, 3, 11))
    key = stream.key(7, "scalar")
    out = np.empty((2, 3, 11), np.float32)
    stream.fill(FillPlan(geometry, draw, (key,)), out, "float32")
    want = [
        [[scalar_value(draw, key, s, o, j) for j in range(11)] for o in range(3)] for s in range(2)
    ]
    assert out.tolist() == np.array(want).tolist()


def fill(shape, draw=None, dtype="float32"):
    out = np.empty(shape, np.uint16 if dtype == "bfloat16" else dtype)
    plan = FillPlan(Layout.parse("OI").bind(shape), draw or normal_draw(1.0), (stream.key(1, "w"),))
    stream.fill(plan, out, dtype)
    return out


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("shape", [(3, 1), (1, 29), (5, 12), (7, 30)])
def test_chunks_leave_no_seam(monkeypatch, chunk, shape):
    whole = fill(shape)
    monkeypatch.setattr(stream, "_CHUNK", chunk)
    assert np.array_equal(fill(shape), whole)


def test_memory_is_bounded():
    import tracemalloc

    out = np.empty((4096, 1024), np.float32)
    plan = FillPlan(Layout.parse("OI").bind(out.shape), normal_draw(1.0), (stream.key(1, "w"),))
    tracemalloc.start()
    stream.fill(plan, out, "float32")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_narrow_types_are_the_rounded_float32():
    wide = fill((64, 64))
    assert np.array_equal(fill((64, 64), dtype="float16"), wide.astype(np.float16))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = wide.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(fill((64, 64), dtype="bfloat16"), bits)


def test_bfloat16_rounds_ties_to_even():
    ties = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0xBF808000], np.uint32).view(np.float32)
    assert stream.cast(ties.astype(np.float64), "bfloat16").tolist() == [
        0x3F80,
        0x3F82,
        0x3F81,
        0xBF80,
    ]


def test_float64_keeps_all_bits_of_the_fixed_point():
    assert np.array_equal(fill((64, 64), dtype="float64").astype(np.float32), fill((64, 64)))
    scaled = fill((64, 64), dtype="float64") * 2.0**28
    assert np.array_equal(scaled, np.round(scaled))


def test_seeds_use_all_their_bits():
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({stream.key(seed, "w") for seed in seeds}) == len(seeds)


def test_names_are_normalised_and_distinct():
    assert stream.key(0, "caf\u00e9") == stream.key(0, "cafe\u0301")
    assert stream.key(0, "a/b") != stream.key(0, "a.b")


def test_purposes_are_independent_words():
    key, counts = stream.key(0, "w"), (1, 64, 64)
    values = np.concatenate([chunk for _, chunk in stream.words(key, counts, 0)])
    zeros = np.concatenate([chunk for _, chunk in stream.words(key, counts, 1)])
    assert not np.any(values == zeros)


@pytest.mark.parametrize("counts", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_no_elements_no_words(counts):
    assert list(stream.words((1, 2), counts)) == []
