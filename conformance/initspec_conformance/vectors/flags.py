"""The bugs that vectors find, and what they do to a model."""

from __future__ import annotations

__all__ = ["FLAGS"]

_TENSORS = {
    "absolute_bounds": ("Bounds in values are read as sigmas.", "Values past the bounds."),
    "block_offset": ("The counter is off by one block.", "Right statistics, wrong bits."),
    "boundary": (
        "A loop loses or repeats values where a block, a register, a tile or a thread ends.",
        "Unwritten memory or repeated weights in a few places.",
    ),
    "coordinate_overflow": (
        "Coordinates wrap at 2**31 or 2**32.",
        "Huge tensors repeat themselves.",
    ),
    "dialect_fans": ("A framework's own count of fans is not reproduced.", "Another scale."),
    "fans": ("fan_in, fan_out or their mean is taken for another.", "Another scale."),
    "groups_ignored": ("Groups count in the fans.", "Grouped layers start too small."),
    "key_sign": ("A word of the seed or the key is taken for a signed number.", "Wrong bits."),
    "lanes": ("The four words of a block come in another order.", "Wrong bits."),
    "law": ("Uniform for normal, or truncation without its correction.", "Another spread."),
    "local_coordinates": (
        "A shard counts from its own corner, not from that of the whole tensor.",
        "All shards are alike.",
    ),
    "memory_order": (
        "Values follow the order of storage.",
        "HWIO and OIHW are different weights.",
    ),
    "name_ignored": ("Two names give one key.", "Layers of one shape are alike."),
    "name_text": (
        "Names are not normalised, cut short, or hashed as another encoding.",
        "The same model gets other weights on another system.",
    ),
    "named_blocks": ("Blocks share a key, or follow their position.", "Gates are alike."),
    "pattern": ("A pattern is off by one, ignores groups, or has -0.", "No identity at start."),
    "precision": ("float64 is made from float32 values.", "Only 24 bits are right."),
    "recipe": ("A recipe has another formula.", "Another scale or law."),
    "rounded_matrix": ("Q has other signs, or is that of the transpose.", "Not uniform."),
    "rounding": (
        "16-bit values are cut off, or rounded twice.",
        "Values and their mean are biased by half a step.",
    ),
    "seed_folded": ("Seeds beyond 32 or 63 bits are folded.", "Seed 2**32 equals seed 0."),
    "shift": ("A mean is added in floating point.", "Bits depend on fused operations."),
    "sign": ("The sign is that of another bit.", "Mirrored values."),
    "sparse_lines": ("Zeros are counted along the wrong line.", "Dead inputs or outputs."),
    "stack": ("Experts count in the fans, or share values.", "Experts are alike."),
    "stride_ignored": ("Strides do not count in the fans.", "Another scale."),
    "subnormal": ("Numbers below the normal range are flushed.", "Zeros for small weights."),
    "tails": ("The ends of the table are read wrongly.", "Outliers, or none."),
    "threads": ("Parts of a large tensor are lost or made twice.", "Unwritten memory."),
    "transposed": ("A transposed kernel is read as a plain one.", "Fans are swapped."),
    "truncation": ("Bounds act on another quantity, or not at all.", "Values past the bounds."),
    "vocabulary": ("The vocabulary counts in the fans.", "Embeddings are far too small."),
}
_REFUSALS = {
    "bad_dtype": ("A dtype that is not drawn is taken for another.", "NaN, zeros or integers."),
    "bad_name": ("A name without a meaning is hashed all the same.", "Layers share weights."),
    "bad_seed": ("A seed out of range is folded or truncated.", "Two seeds are one."),
    "bad_shape": ("A size is coerced, or overflows.", "A tensor of another shape."),
    "bounds": ("Bounds that cannot hold are swapped, clipped or ignored.", "Another law."),
    "coercion": ("True is 1, 4.0 is 4, '3' is 3.", "A mistake of the caller goes unseen."),
    "mismatch": ("Layout and shape do not fit and one of them wins.", "Fans of another tensor."),
    "not_finite": ("NaN and infinities pass.", "A model of NaN."),
    "out_of_range": ("Values overflow or underflow in the dtype.", "Infinities, or only zeros."),
    "unknown_word": ("A misspelt word is ignored.", "The default, and nobody notices."),
    "unused_field": ("A field without effect is accepted.", "Not what the caller meant."),
    "unfit": ("A pattern without a matrix or a kernel to stand in.", "Zeros."),
    "wrong_sign": ("Negative scales and counts pass.", "NaN, or mirrored weights."),
}
FLAGS = {
    name: {"bug": bug, "effect": effect} for name, (bug, effect) in (_TENSORS | _REFUSALS).items()
}
