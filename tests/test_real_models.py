"""Models that nobody here wrote: every parameter is matched or reported, with no manual layout."""

import numpy as np
import pytest
import torch

import initspec
from initspec.models import Config, PlanError, Rule, plan

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
BLOCK = {**SMALL, "intermediate_size": 64, "vocab_size": 99}
TRANSFORMERS = {
    "GPT2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 99, "n_positions": 16},
    "Bert": BLOCK,
    "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2, "vocab_size": 99},
    "Llama": {**BLOCK, "num_key_value_heads": 2},
    "Mixtral": {**BLOCK, "num_key_value_heads": 2, "num_local_experts": 3},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]},
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2},
    "ViT": {**SMALL, "intermediate_size": 64, "image_size": 16, "patch_size": 4},
}
TIES = {"T5": {"{side}/embed_tokens/embedding": "shared/embedding"}}
GARBAGE = 12345.5


def config(name="", *rules):
    return Config(seed=3, extends=["initspec:base"], rules=rules, tie=TIES.get(name, {}))


DRAWN = [
    Rule(
        "weights",
        role=["kernel", "embedding", "position", "other"],
        init={"type": "normal", "std": 0.02},
    )
]


def transformer(name):
    transformers = pytest.importorskip("transformers")
    settings = getattr(transformers, f"{name}Config")(**TRANSFORMERS[name])
    return getattr(transformers, f"{name}Model")(settings)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_models_need_no_layout_and_keep_no_garbage(name):
    model = transformer(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(GARBAGE)
    done = plan(model, config(name, *DRAWN)).apply()
    left = [n for n, p in model.named_parameters() if (p == GARBAGE).any()]
    assert left == []
    kept = [row for row in done.rows if row.action == "keep"]
    assert all(row.stored.buffer for row in kept)
    assert initspec.check(model, config(name, *DRAWN)).passed


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_what_no_rule_matches_is_reported(name):
    model = transformer(name)
    with pytest.raises(PlanError) as caught:
        plan(model, Config(rules=[Rule("biases", role="bias", init="zeros", optional=True)]))
    told = {problem.path for problem in caught.value.problems}
    assert any("kernel" in path for path in told)


def test_gpt2_sees_queries_keys_and_values_and_scales_its_residuals():
    rows = {row.path: row for row in plan(transformer("GPT2"), "initspec:gpt2").rows}
    assert "h/0/attn/c_attn/query/kernel" in rows
    assert rows["h/1/attn/c_proj/kernel"].law.std == pytest.approx(0.02 / 2)
    assert rows["h/1/mlp/c_fc/kernel"].law.std == 0.02
    assert rows["h/1/mlp/c_fc/kernel"].part.layout.pattern == "IO"


def test_an_expert_is_a_matrix_of_its_own():
    rows = {row.path: row for row in plan(transformer("Mixtral"), config("", *DRAWN)).rows}
    experts = [row for path, row in rows.items() if "experts" in path and row.part]
    assert experts
    assert all(row.part.geometry.counts[0] in (1, 3) for row in experts)
    assert {row.fans for row in experts} == {(32, 64), (64, 32)}


def test_what_came_from_a_checkpoint_is_never_written(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformer("GPT2").save_pretrained(tmp_path)
    model = transformers.GPT2ForSequenceClassification.from_pretrained(tmp_path)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rows = plan(model, "initspec:gpt2").apply().rows
    assert [row.stored.name for row in rows if row.action == "write"] == ["score.weight"]
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert changed == ["score.weight"]
    plan(
        model, Config(rules=[Rule("head", path="score/kernel", init="zeros")])
    )  # and needs no rule


def keras_model(name):
    keras = pytest.importorskip("keras")
    size = {"input_shape": (64, 64, 3), "classes": 10}
    return getattr(keras.applications, name)(weights=None, **size)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_keras_applications_need_no_layout_and_keep_no_garbage(name):
    model = keras_model(name)
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, GARBAGE, np.float32))
    done = plan(model, "initspec:keras-defaults", seed=1).apply()
    assert [w.path for w in model.trainable_variables if (np.asarray(w) == GARBAGE).any()] == []
    assert all(row.stored.buffer for row in done.rows if row.action == "keep")
    depthwise = [row for row in done.rows if row.part and row.part.kind == "depthwise"]
    assert len(depthwise) == {"MobileNetV2": 17, "EfficientNetB0": 16}[name]
    assert initspec.check(model, "initspec:keras-defaults", seed=1).passed
