"""What the scoreboard compares: initializers of frameworks, what they should be, what is expected.

Data only. A row says which initializer is compared with which recipe, on which tensor, and a phrase
of the diagnosis that is known for it; the empty phrase says that it conforms.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["NOT_OFFERED", "PROCESSES", "ROWS", "Process", "Row"]

NOT_OFFERED = "not offered"  # expected of a dtype that the initializer refuses


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        process: the kind of process that it needs, see `PROCESSES`.
        peer: what `initspec_conformance.foreign.load` takes.
        recipe: the name of the recipe that it is compared with.
        expected: a phrase of the diagnosis; empty if it conforms.
        layer: the kind of tensor, see `initspec_conformance.cases.layers`.
        dtype: of the tensor.
        std: of the recipe, where it is not its own.
        title: how the page calls the initializer; empty for ``peer``.
    """

    process: str
    peer: str
    recipe: str
    expected: str = ""
    layer: str = "convolution"
    dtype: str = "float32"
    std: float | None = field(default=None, kw_only=True)
    title: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """Of the initializer."""
        return self.title or self.peer.replace(":", ".")

    @property
    def reference(self) -> str:
        """The recipe, with its std where that was changed."""
        return self.recipe if self.std is None else f"{self.recipe}(std={self.std:g})"


@dataclass(frozen=True)
class Process:
    """What a section of the page is made in: its title, KERAS_BACKEND, and whose versions count."""

    title: str
    packages: tuple[str, ...]
    keras: str = ""


_TENSORFLOW = ("tensorflow", "tensorflow-cpu")
PROCESSES = {  # Keras has one backend per process
    "torch": Process("PyTorch", ("torch",)),
    "jax": Process("JAX, Flax, Haiku, Equinox", ("jax", "flax", "dm-haiku", "equinox")),
    "keras on tensorflow": Process(
        "Keras on TensorFlow", ("keras", *_TENSORFLOW), keras="tensorflow"
    ),
    "keras on torch": Process("Keras on PyTorch", ("keras", "torch"), keras="torch"),
    "keras on jax": Process("Keras on JAX", ("keras", "jax"), keras="jax"),
    "tensorflow": Process("TensorFlow", _TENSORFLOW),
}

_UNTRUNCATED = "looks untruncated"
_FEW = "only 128 different values"
_FEW_HALF = "only 1024 different values"
_TWICE = "more than once"
_OPEN = "no value rounds to the upper bound"
_FANS = "fans are counted as"
_GROUPS = "the groups are ignored"
_LIMIT = "the limit is 1 / sqrt(fan_in)"
_OURS = "initspec_conformance.peers.layers"


def _torch() -> list[Row]:
    def row(peer: str, recipe: str, *rest: str, std: float | None = None) -> Row:
        return Row("torch", f"torch.nn.init:{peer}", recipe, *rest, std=std)

    def layer(peer: str, title: str, recipe: str, *rest: str) -> Row:
        return Row("torch", f"{_OURS}:{peer}", recipe, *rest, title=title)

    return [
        row("kaiming_normal_", "he_normal", _UNTRUNCATED),
        row("kaiming_normal_", "torch.kaiming_normal"),
        row("kaiming_normal_", "torch.kaiming_normal", "", "convolution", "bfloat16"),
        row("kaiming_normal_", "torch.kaiming_normal", "", "convolution", "float16"),
        row("kaiming_normal_(mode='fan_out')", "torch.kaiming_normal", "std is that of fan_out"),
        row("kaiming_uniform_", "he_uniform"),
        row("kaiming_uniform_", "he_uniform", "", "grouped convolution"),
        row("kaiming_uniform_", "he_uniform", "", "depthwise convolution"),
        row("kaiming_uniform_", "he_uniform", _FANS, "transposed convolution"),
        row("kaiming_uniform_", "torch.kaiming_uniform", "", "transposed convolution"),
        row("kaiming_uniform_", "he_uniform", _FANS, "stacked experts"),
        row("kaiming_uniform_", "torch.kaiming_uniform", _OPEN, "convolution", "bfloat16"),
        row("kaiming_uniform_(a=2.23606797749979)", "he_uniform", _LIMIT),
        row("kaiming_uniform_(a=2.23606797749979)", "torch.linear", "", "dense"),
        row("xavier_normal_", "glorot_normal", _UNTRUNCATED),
        row("xavier_normal_", "torch.xavier_normal"),
        row("xavier_uniform_", "glorot_uniform"),
        row("xavier_uniform_", "glorot_uniform", _GROUPS, "grouped convolution"),
        row("xavier_uniform_", "glorot_uniform", _GROUPS, "depthwise convolution"),
        row("xavier_uniform_", "torch.xavier_uniform", "", "grouped convolution"),
        row("xavier_uniform_", "torch.xavier_uniform", _OPEN, "convolution", "bfloat16"),
        row("xavier_uniform_", "torch.xavier_uniform", _OPEN, "convolution", "float16"),
        row("trunc_normal_", "torch.trunc_normal"),
        row("trunc_normal_(std=0.02)", "torch.trunc_normal", std=0.02),
        row("trunc_normal_(std=0.02)", "keras.truncated_normal", _UNTRUNCATED, std=0.02),
        row("normal_", "torch.normal"),
        row("normal_", "torch.normal", "", "convolution", "bfloat16"),
        row("uniform_", "torch.uniform"),
        row("uniform_", "torch.uniform", _OPEN, "convolution", "bfloat16"),
        row("orthogonal_", "orthogonal", "", "dense"),
        row("orthogonal_", "orthogonal"),
        row("orthogonal_", "orthogonal", NOT_OFFERED, "dense", "bfloat16"),
        row("dirac_", "dirac"),
        row("eye_", "identity", "", "dense"),
        row("sparse_(sparsity=0.1)", "torch.sparse", "", "dense"),
        layer("torch_linear", "torch.nn.Linear", "torch.linear", "", "dense"),
        layer("torch_linear", "torch.nn.Linear", "he_uniform", _LIMIT, "dense"),
        layer("torch_convolution", "torch.nn.Conv2d", "torch.conv"),
        layer(
            "torch_transposed",
            "torch.nn.ConvTranspose2d",
            "torch.conv",
            "",
            "transposed convolution",
        ),
    ]


def _jax() -> list[Row]:
    def row(peer: str, recipe: str, *rest: str, std: float | None = None) -> Row:
        package = "" if ":" in peer else "jax.nn.initializers:"
        return Row("jax", package + peer, recipe, *rest, std=std)

    def layer(peer: str, title: str, recipe: str, *rest: str) -> Row:
        return Row("jax", f"{_OURS}:{peer}", recipe, *rest, title=title)

    return [
        row("he_normal", "he_normal"),
        row("he_normal", "he_normal", "", "grouped convolution"),
        row("he_normal", "he_normal", "", "depthwise convolution"),
        row("he_normal", "he_normal", "the stride is ignored", "transposed convolution"),
        row("he_normal", "jax.he_normal", "", "transposed convolution"),
        row("he_normal", "he_normal", _FANS, "stacked experts"),
        row("he_normal(batch_axis=0)", "he_normal", "", "stacked experts"),
        row("he_normal", "jax.he_normal", _FEW, "convolution", "bfloat16"),
        row("he_normal", "jax.he_normal", _FEW_HALF, "convolution", "float16"),
        row("he_uniform", "he_uniform"),
        row("glorot_normal", "glorot_normal"),
        row("glorot_uniform", "glorot_uniform"),
        row("glorot_uniform", "glorot_uniform", _GROUPS, "grouped convolution"),
        row("glorot_uniform", "glorot_uniform", _GROUPS, "depthwise convolution"),
        row("glorot_uniform", "jax.glorot_uniform", "", "grouped convolution"),
        row("glorot_uniform", "jax.glorot_uniform", _FEW, "convolution", "bfloat16"),
        row("lecun_normal", "lecun_normal"),
        row("lecun_normal", "jax.lecun_normal", _FEW, "dense", "bfloat16"),
        row("lecun_uniform", "lecun_uniform"),
        row("variance_scaling(2.0, 'fan_in', 'normal')", "he_normal", _UNTRUNCATED),
        row("variance_scaling(2.0, 'fan_in', 'truncated_normal')", "he_normal"),
        row("truncated_normal(stddev=0.02)", "jax.truncated_normal", std=0.02),
        row("normal", "jax.normal"),
        row("normal", "jax.normal", _FEW, "convolution", "bfloat16"),
        row("uniform", "jax.uniform"),
        row("orthogonal", "orthogonal", "", "dense"),
        row("orthogonal", "orthogonal", NOT_OFFERED, "dense", "bfloat16"),
        row("delta_orthogonal", "delta_orthogonal"),
        row("flax.nnx.initializers:he_normal", "he_normal"),
        row("flax.linen.initializers:lecun_normal", "lecun_normal", "", "dense"),
        layer("flax_dense", "flax.nnx.Linear", "lecun_normal", "", "dense"),
        layer("flax_embed", "flax.nnx.Embed", "jax.embedding", "", "embedding"),
        row("haiku.initializers:VarianceScaling(scale=2.0)", "he_normal"),
        row(
            "haiku.initializers:VarianceScaling(2.0, 'fan_in', 'normal')", "he_normal", _UNTRUNCATED
        ),
        row("haiku.initializers:TruncatedNormal(stddev=0.05)", "keras.truncated_normal"),
        row("haiku.initializers:Orthogonal", "orthogonal", "", "dense"),
        layer("haiku_linear", "haiku.Linear", "lecun_normal", "without the correction", "dense"),
        layer("equinox_linear", "equinox.nn.Linear", "torch.linear", "", "dense as torch"),
        layer(
            "equinox_linear",
            "equinox.nn.Linear",
            "lecun_uniform",
            "sqrt 3 too small",
            "dense as torch",
        ),
    ]


def _keras(backend: str) -> list[Row]:
    """What depends on the backend: the generator, the rounding."""
    process = f"keras on {backend}"
    leak = "the truncation leaks" if backend == "torch" else ""
    bits = {
        "tensorflow": (_TWICE, _FEW, _FEW_HALF),
        "torch": (_TWICE, _TWICE, _TWICE),
        "jax": (_FEW, _FEW, _FEW_HALF),
    }[backend]
    rows = [
        ("HeNormal", "he_normal", leak, "float32"),
        ("HeNormal", "keras.he_normal", bits[0], "bfloat16"),
        ("GlorotUniform", "glorot_uniform", "", "float32"),
        ("GlorotUniform", "keras.glorot_uniform", bits[1], "bfloat16"),
        ("GlorotUniform", "keras.glorot_uniform", bits[2], "float16"),
        ("TruncatedNormal", "keras.truncated_normal", leak, "float32"),
        ("RandomNormal", "keras.random_normal", "", "float32"),
    ]
    return [
        Row(process, f"keras.initializers:{peer}", recipe, expected, "convolution", dtype)
        for peer, recipe, expected, dtype in rows
    ]


def _keras_fans() -> list[Row]:
    """What does not depend on the backend."""

    def row(peer: str, recipe: str, *rest: str) -> Row:
        return Row("keras on tensorflow", f"keras.initializers:{peer}", recipe, *rest)

    def layer(peer: str, title: str, recipe: str, *rest: str) -> Row:
        return Row("keras on tensorflow", f"{_OURS}:{peer}", recipe, *rest, title=title)

    return [
        row("HeNormal", "he_normal", "", "grouped convolution"),
        row("HeNormal", "he_normal", _FANS, "depthwise convolution"),
        row("HeNormal", "keras.he_normal", "", "depthwise convolution"),
        row("HeNormal", "he_normal", _FANS, "transposed convolution"),
        row("HeNormal", "keras.he_normal", "", "transposed convolution"),
        row("HeNormal", "he_normal", _FANS, "stacked experts"),
        row("HeUniform", "he_uniform"),
        row("GlorotNormal", "glorot_normal"),
        row("GlorotUniform", "glorot_uniform", _GROUPS, "grouped convolution"),
        row("GlorotUniform", "glorot_uniform", _FANS, "depthwise convolution"),
        row("LecunNormal", "lecun_normal"),
        row("LecunUniform", "lecun_uniform"),
        row("VarianceScaling(scale=2.0, distribution='normal')", "he_normal"),
        row(
            "VarianceScaling(scale=2.0, distribution='normal')", "torch.kaiming_normal", "truncated"
        ),
        row(
            "VarianceScaling(scale=2.0, distribution='untruncated_normal')",
            "he_normal",
            _UNTRUNCATED,
        ),
        row("RandomUniform", "keras.random_uniform"),
        row("Orthogonal", "orthogonal", "", "dense"),
        row("Identity", "identity", "", "dense"),
        layer("keras_dense", "keras.layers.Dense", "glorot_uniform", "", "dense"),
        layer(
            "keras_depthwise",
            "keras.layers.DepthwiseConv2D",
            "glorot_uniform",
            _FANS,
            "depthwise convolution",
        ),
    ]


def _tensorflow() -> list[Row]:
    def row(peer: str, recipe: str, *rest: str) -> Row:
        return Row("tensorflow", f"tensorflow{peer}", recipe, *rest)

    return [
        row(".random:normal", "tf1.random_normal"),
        row(".random:truncated_normal", "tf1.truncated_normal"),
        row(".random:truncated_normal", "tf1.truncated_normal", "", "convolution", "bfloat16"),
        row(".random:uniform", "tf1.random_uniform"),
        row(".random:uniform", "tf1.random_uniform", _FEW, "convolution", "bfloat16"),
        row(":random_normal_initializer", "keras.random_normal"),
        row(":random_normal_initializer", "tf1.random_normal", "the std is 95.0"),
        row(".compat.v1.initializers:he_normal", "he_normal"),
        row(".compat.v1.initializers:glorot_uniform", "glorot_uniform"),
        row(".compat.v1:truncated_normal_initializer", "tf1.truncated_normal"),
    ]


ROWS: tuple[Row, ...] = (
    *_torch(),
    *_jax(),
    *_keras("tensorflow"),
    *_keras_fans(),
    *_keras("torch"),
    *_keras("jax"),
    *_tensorflow(),
)
