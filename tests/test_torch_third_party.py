"""Models of transformers and timm: every parameter is known, and written."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_model_checks import by_name, initialise, logical  # noqa: E402

from initspec_torch.model import open_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


# --- transformers, built from small configs -----------------------------------------------------

SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
LAYER = {"num_hidden_layers": 1, "vocab_size": 50}
GPT2 = {"vocab_size": 50, "n_positions": 12, "n_embd": 8, "n_layer": 1, "n_head": 2}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
CROSS = {"add_cross_attention": True}
MODELS = {
    "GPT2Model": ("GPT2Config", GPT2),
    "GPT2LMHeadModel": ("GPT2Config", GPT2 | CROSS),
    "BertModel": ("BertConfig", SMALL | LAYER),
    "T5Model": (
        "T5Config",
        {"vocab_size": 50, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    ),
    "LlamaModel": ("LlamaConfig", SMALL | LAYER | {"num_key_value_heads": 1}),
    "MixtralModel": (
        "MixtralConfig",
        SMALL | LAYER | {"num_key_value_heads": 1, "num_local_experts": 3},
    ),
    "ResNetModel": (
        "ResNetConfig",
        {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    ),
    "ConvNextModel": (
        "ConvNextConfig",
        {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2},
    ),
    "ViTModel": ("ViTConfig", SMALL | {"num_hidden_layers": 1, "image_size": 8, "patch_size": 4}),
    "GemmaModel": ("GemmaConfig", SMALL | LAYER | {"num_key_value_heads": 1, "head_dim": 4}),
}


def build(name, **more):
    transformers = pytest.importorskip("transformers")
    config, options = MODELS[name]
    return getattr(transformers, name)(getattr(transformers, config)(**options), **more)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_transformers_is_known_and_written(name):
    module = build(name)
    for parameter in module.parameters():
        parameter.data.fill_(float("nan"))
    model = initialise(module)
    assert [stored.name for stored in model.tensors() if not (stored.parts or stored.buffer)] == []
    assert [stored.problem for stored in model.tensors() if stored.problem] == []
    assert not any(parameter.isnan().any() for parameter in module.parameters())


def test_gpt2_has_queries_keys_and_values():
    model = open_model(build("GPT2LMHeadModel"))
    own = by_name(model)["transformer.h.0.attn.c_attn.weight"]
    assert [part.path for part in own.parts] == [
        f"transformer/h/0/attn/c_attn/{name}/kernel" for name in ("query", "key", "value")
    ]
    assert {(part.kind, part.geometry.counts) for part in own.parts} == {("attention", (1, 8, 8))}
    cross = by_name(model)["transformer.h.0.crossattention.c_attn.bias"]
    assert [part.path.split("/")[-2] for part in cross.parts] == ["key", "value"]
    assert [name for name, _ in by_name(model)["transformer.wte.weight"].aliases] == [
        "lm_head.weight"
    ]


def test_conv1d_multiplies_from_the_right():
    module = build("GPT2Model").double()
    layer, found = module.h[0].attn.c_attn, logical(initialise(module))
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).numpy()
    made = layer(torch.from_numpy(x)[None, None])[0, 0].detach().numpy()
    for i, name in enumerate(("query", "key", "value")):
        path = f"h/0/attn/c_attn/{name}"
        expected = found[f"{path}/kernel"] @ x + found[f"{path}/bias"]
        assert made[8 * i : 8 * i + 8] == pytest.approx(expected)
    made = module.h[0].mlp.c_fc(torch.from_numpy(x)[None, None])[0, 0].detach().numpy()
    expected = found["h/0/mlp/c_fc/kernel"] @ x + found["h/0/mlp/c_fc/bias"]
    assert made == pytest.approx(expected)


def test_experts_are_a_stack():
    model = open_model(build("MixtralModel"))
    stored = by_name(model)["layers.0.mlp.experts.gate_up_proj"]
    assert [part.path.split("/")[-2] for part in stored.parts] == ["gate", "up"]
    assert {part.geometry.counts for part in stored.parts} == {(3, 16, 8)}
    (down,) = by_name(model)["layers.0.mlp.experts.down_proj"].parts
    assert down.geometry.counts == (3, 8, 16)
    (router,) = by_name(model)["layers.0.mlp.gate.weight"].parts
    assert (router.role, router.geometry.counts) == ("kernel", (1, 3, 8))


def test_tokens_positions_and_layer_scales():
    model = open_model(build("ViTModel", use_mask_token=True))
    found = {
        name: (part.role, part.layout.pattern, part.geometry.counts)
        for name in ("cls_token", "mask_token", "position_embeddings")
        for part in by_name(model)[f"embeddings.{name}"].parts
    }
    assert found == {
        "cls_token": ("other", "__O", (1, 8, 1)),
        "mask_token": ("other", "__O", (1, 8, 1)),
        "position_embeddings": ("position", "_VI", (1, 5, 8)),
    }
    model = open_model(build("ConvNextModel"))
    (scale,) = by_name(model)["encoder.stages.0.layers.0.layer_scale_parameter"].parts
    assert (scale.role, scale.geometry.counts) == ("other", (1, 4, 1))


def test_a_norm_that_adds_one_is_stored_one_less():
    for name, stored in (("LlamaModel", 1.0), ("GemmaModel", 0.0)):
        module = build(name)
        model = open_model(module)
        (part,) = by_name(model)["norm.weight"].parts
        assert (part.path, part.role, 1.0 - part.shift) == ("norm/scale", "scale", stored)
        assert module.norm.weight.eq(stored).all(), "the library starts from the identity"
        assert {(knob.name, knob.value) for knob in model.knobs()} == {("norm_epsilon", 1e-6)}


def test_the_nearest_class_counts():
    name, module = "NemotronLayerNorm1P", "transformers.models.nemotron.modeling_nemotron"
    norm = type(name, (nn.LayerNorm,), {"__module__": module, "__qualname__": name})(3)
    scale, offset = (stored.parts[0] for stored in open_model(norm).tensors())
    assert (scale.shift, offset.shift) == (1.0, 0.0)  # as a LayerNorm it would be 0


# --- timm, whose own import may need what is not there ------------------------------------------


def timm_class(name, module, **tensors):
    """A class as timm names it, with these parameters and children."""

    def start(self):
        nn.Module.__init__(self)
        for key, value in tensors.items():
            setattr(self, key, value if isinstance(value, nn.Module) else nn.Parameter(value))

    body = {"__init__": start, "__module__": module, "__qualname__": name}
    return type(name, (nn.Module,), body)()


def test_classes_of_timm_by_their_names():
    net = timm_class(
        "VisionTransformer",
        "timm.models.vision_transformer",
        cls_token=torch.empty(1, 1, 6),
        reg_token=torch.empty(1, 4, 6),
        pos_embed=torch.empty(1, 5, 6),
        attn=timm_class("Attention", "timm.layers.attention", qkv=nn.Linear(6, 18)),
        ls1=timm_class("LayerScale", "timm.layers.layer_scale", gamma=torch.empty(6)),
        norm=timm_class("RmsNorm", "timm.layers.norm", weight=torch.empty(6)),
    )
    assert {
        part.path: (part.role, part.geometry.counts)
        for stored in initialise(net).tensors()
        for part in stored.parts
    } == {
        "cls_token": ("other", (1, 6, 1)),
        "reg_token": ("other", (1, 4, 6)),
        "pos_embed": ("position", (1, 5, 6)),
        **{f"attn/qkv/{n}/kernel": ("kernel", (1, 6, 6)) for n in ("query", "key", "value")},
        **{f"attn/qkv/{n}/bias": ("bias", (1, 6, 1)) for n in ("query", "key", "value")},
        "ls1/gamma": ("other", (1, 6, 1)),
        "norm/scale": ("scale", (1, 6, 1)),
    }


def test_attention_whose_keys_have_no_bias():
    qkv = nn.Linear(6, 18, bias=False)
    biases = {"q_bias": torch.empty(6), "v_bias": torch.empty(6)}
    net = timm_class("EvaAttention", "timm.models.eva", qkv=qkv, **biases)
    assert sorted(part.path for s in initialise(net).tensors() for part in s.parts) == [
        "qkv/key/kernel",
        "qkv/query/bias",
        "qkv/query/kernel",
        "qkv/value/bias",
        "qkv/value/kernel",
    ]


@pytest.mark.parametrize(
    "shapes",
    [
        {"gate_up_proj": (3, 8, 32), "down_proj": (3, 16, 8)},  # (in, out)
        {"gate_up_proj": (3, 32, 8), "down_proj": (3, 8, 32)},
        {"gate_up_proj": (32, 8), "down_proj": (8, 16)},
        {"down_proj": (3, 8, 16)},
    ],
)
def test_what_is_stored_in_another_order_stays_unknown(shapes):
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    net = timm_class("SomeExperts", "transformers.models.some.modeling_some", **tensors)
    assert [stored.parts for stored in open_model(net).tensors()] == [()] * len(shapes)


def test_names_alone_do_not_make_a_position_embedding():
    tensors = {"pos_embed": torch.empty(2, 5, 6), "cls_token": torch.empty(3, 1, 6)}
    tensors |= {"layer_scale": torch.empty(4, 4)}
    net = timm_class("Net", "transformers.models.some.modeling_some", **tensors)
    assert [stored.parts for stored in open_model(net).tensors()] == [()] * 3


def test_timm_itself():
    pytest.importorskip("timm", exc_type=ImportError)
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3, init_values=1e-5
    )
    assert [s.name for s in initialise(net).tensors() if not (s.parts or s.buffer)] == []
