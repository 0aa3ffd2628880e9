"""Configs for tests: any that are well-formed, and one as a file and as typed objects."""

import pytest
from hypothesis import strategies as st

import initspec
from initspec.models.config import Config, Fused, Match, Rule, Stacked, Tensor
from initspec.models.config.inits import Init
from initspec.models.config.problems import ConfigError
from initspec.models.slots import KINDS, ROLES

# Any printable text, and what formats could take for something else.
TRAPS = "no 1e-5 1E+5 007 0x10 ~ null true # - ' \" \\ = [x] { 2026-11-22 1:30 << .inf é🙂 a:"
TEXTS = st.one_of(
    st.text(min_size=1, max_size=8).filter(str.isprintable),
    st.sampled_from([*TRAPS.split(), "a: b", "# c", "- d", " e "]),
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
GLOBS = st.one_of(
    PATHS, PATHS.map(lambda path: f"**/{{i}}/{path}"), st.just(r"re:a\.(?P<i>[0-9]+)/'\"w")
)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
POSITIVE = st.floats(0, 1e6, exclude_min=True)


def one_or_more(values):
    return st.one_of(values, st.lists(values, min_size=1, max_size=3, unique=True))


MATCHES = st.builds(
    Match,
    path=one_or_more(GLOBS),
    role=st.one_of(st.just(()), one_or_more(st.sampled_from(ROLES))),
    layer=st.one_of(st.just(()), one_or_more(st.sampled_from(KINDS))),
    exclude=st.one_of(st.none(), st.builds(Match, role=one_or_more(st.sampled_from(ROLES)))),
)
INITS = st.one_of(
    st.sampled_from(["keep", "zeros", "he_normal", "torch.kaiming_uniform", "xavier_normal"]),
    st.builds(lambda std: {"type": "normal", "std": std}, POSITIVE),
    st.builds(lambda value: {"type": "constant", "value": value}, POSITIVE),
    st.sampled_from(
        [
            {"type": "truncated_normal", "std": "0.02 / sqrt(2 * fan_in)", "cut": 2},
            {"type": "he_normal", "mode": "fan_out", "nonlinearity": "relu"},
            {"type": "variance_scaling", "distribution": "uniform", "scale": "1 / 3"},
            {"type": "sparse", "std": 1, "sparsity": 0.5, "per": "input"},
            {"type": "truncated_normal", "std": 1, "low": -2, "compensate": True},
        ]
    ),
)
RULES = st.lists(
    st.builds(Rule, name=TEXTS, match=MATCHES, init=INITS, optional=st.booleans()),
    max_size=4,
    unique_by=lambda rule: rule.name,
)
COUNTS = st.integers(1, 9)
TENSORS = st.one_of(
    st.builds(Tensor, path=PATHS),
    st.builds(Tensor, role=st.sampled_from(ROLES), layer=st.sampled_from(KINDS)),
    st.builds(
        Tensor,
        path=PATHS.map(lambda path: f"{path}/kernel"),
        layout=st.sampled_from(["OIHW", "(G O) I H W"]),
        groups=COUNTS,
        flip=st.booleans(),
        transposed=st.booleans(),
        stride=st.one_of(COUNTS, st.lists(COUNTS, min_size=2, max_size=2)),
    ),
    st.builds(
        Tensor,
        path=PATHS.map(lambda path: f"{path}/{{k}}/{{part}}/kernel"),
        layout=st.just("OI"),
        split=st.builds(
            Fused,
            axis=st.sampled_from(["out", 0, -1]),
            parts=st.just(["a", "b"]),
            sizes=st.one_of(st.none(), st.just([1, 2])),
        ),
        stack=st.builds(
            Stacked,
            axis=st.just(0),
            capture=st.just("k"),
            parts=st.one_of(st.none(), st.just(["x"])),
        ),
    ),
)
SLOTS = st.builds(Tensor, path=PATHS, role=st.sampled_from(ROLES), layout=st.sampled_from("IOV"))
CONFIGS = st.builds(
    Config,
    stream=st.sampled_from([None, "v1"]),
    seed=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    extends=st.sampled_from([(), "initspec:base", ["initspec:base"]]),
    unmatched=st.sampled_from([None, "error", "keep", "warn"]),
    vars=st.dictionaries(NAMES.map("v_{}".format), NUMBERS.filter(lambda x: abs(x) < 1e300)),
    rules=RULES,
    tie=st.dictionaries(PATHS.map("x/{}".format), PATHS.map("y/{}".format), max_size=2),
    names=st.dictionaries(
        st.sampled_from(["torch", "flax"]), st.dictionaries(PATHS, TENSORS, max_size=3), max_size=2
    ),
    layers=st.dictionaries(
        NAMES.map("package.{}".format),
        st.dictionaries(
            TEXTS,
            st.one_of(SLOTS, st.lists(SLOTS, min_size=1, max_size=2)),
            max_size=2,
        ),
        max_size=2,
    ),
    knobs=st.dictionaries(st.just("norm_epsilon"), POSITIVE, max_size=1),
)

FORMATS = ("toml", "json", "yaml")
TEXT = """\
#:schema initspec-1.schema.json
initspec  = 1
stream    = "v1"                  # the pinned algorithm
seed      = 20261121
unmatched = "error"

[[rule]]
name  = "embeddings"
match = { role = "embedding" }
init  = { type = "normal", std = 0.02 }

[[rule]]
name  = "residual branch outputs"
match = { path = "blocks/{i}/**/out/kernel" }
init  = { type = "truncated_normal", std = "0.02 / sqrt(2 * L)", cut = 2, compensate = true }

[[rule]]
name  = "convolutions"
match = { role = "kernel", layer = ["conv", "depthwise"], not = { path = "stem/**" } }
init  = { type = "he_normal", mode = "fan_out", nonlinearity = "relu" }

[[rule]]
name  = "everything else"
init  = "keep"

[tie]
"lm_head/kernel" = "tok/embedding"

[names.torch]
"ln.weight" = "ln/scale"
"h.{i}.attn.c_attn.weight" = { path = "h/{i}/{part}/kernel", layout = "IO", split = { axis = "out", parts = ["query", "key"] } }

[names.flax]
"params/blocks/w" = { path = "blocks/{i}/kernel", stack = { axis = 0, capture = "i" } }

[layers."package.Linear"]
weight = { path = "kernel", layout = "OI" }

[knobs]
norm_epsilon = 1e-05
"""  # noqa: E501  one statement
OBJECTS = Config(
    stream="v1",
    seed=20261121,
    unmatched="error",
    rules=[
        Rule("embeddings", role="embedding", init=initspec.normal(std=0.02)),
        Rule(
            "residual branch outputs",
            path="blocks/{i}/**/out/kernel",
            init={
                "type": "truncated_normal",
                "std": "0.02 / sqrt(2 * L)",
                "cut": 2,
                "compensate": True,
            },
        ),
        Rule(
            "convolutions",
            match=Match(role="kernel", layer=["conv", "depthwise"], exclude=Match(path="stem/**")),
            init=Init("he_normal", {"mode": "fan_out", "nonlinearity": "relu"}),
        ),
        Rule("everything else", init="keep"),
    ],
    tie={"lm_head/kernel": "tok/embedding"},
    names={
        "torch": {
            "ln.weight": "ln/scale",
            "h.{i}.attn.c_attn.weight": Tensor(
                path="h/{i}/{part}/kernel",
                layout="IO",
                split=Fused(axis="out", parts=["query", "key"]),
            ),
        },
        "flax": {
            "params/blocks/w": Tensor(path="blocks/{i}/kernel", stack=Stacked(axis=0, capture="i"))
        },
    },
    layers={"package.Linear": {"weight": Tensor(path="kernel", layout="OI")}},
    knobs={"norm_epsilon": 1e-5},
)


def problems_of(make):
    with pytest.raises(ConfigError) as caught:
        make()
    return [str(problem) for problem in caught.value.problems]
