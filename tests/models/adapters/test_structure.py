"""Blocks, sublayers and embeddings are found in every family by how its modules stand."""

import pytest
from torch import nn

from finelab.models.adapters.structure import input_parameters, stacks, sublayers

STACKS = {
    "bert": {"encoder.layer": 2},
    "llama": {"model.layers": 2},
    "t5": {"encoder.block": 2, "decoder.block": 2},
    "t5 encoder": {"encoder.block": 2},
    "gpt2": {"transformer.h": 2},
    "qwen3": {"model.layers": 2},
    "bart": {"model.encoder.layers": 2, "model.decoder.layers": 3},
    "distilbert": {"transformer.layer": 2},
    "mixtral": {"model.layers": 2},
    "mamba": {"backbone.layers": 2},
}
WRITERS = {
    "bert": ["attention.output.dense", "output.dense"],
    "llama": ["self_attn.o_proj", "mlp.down_proj"],
    "t5": ["layer.0.SelfAttention.o", "layer.1.EncDecAttention.o", "layer.2.DenseReluDense.wo"],
    "t5 encoder": ["layer.0.SelfAttention.o", "layer.1.DenseReluDense.wo"],
    "gpt2": ["attn.c_proj", "mlp.c_proj"],
    "qwen3": ["self_attn.o_proj", "mlp.down_proj"],
    "bart": ["self_attn.out_proj", "encoder_attn.out_proj", "fc2"],
    "distilbert": ["attention.out_lin", "ffn.lin2"],
    "mixtral": [],
    "mamba": [],
}
READERS = {"bert": "intermediate.dense", "llama": "mlp.gate_proj", "gpt2": "mlp.c_fc", "bart": "fc1"}
OUTSIDE = {  # of the embeddings, where there is more than blocks and embeddings
    "llama": {"model.norm.weight", "lm_head.weight"},
    "gpt2": {"transformer.ln_f.weight", "transformer.ln_f.bias"},
    "t5": {"encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"},
    "bert": set(),
    "bart": set(),
}


@pytest.mark.parametrize("family", STACKS)
def test_stacks(backbone, family):
    assert {name: len(blocks) for name, blocks in stacks(backbone(family)).items()} == STACKS[family]


@pytest.mark.parametrize("family", WRITERS)
def test_output_layers_of_a_block(backbone, family):
    model = backbone(family)
    block = list(stacks(model).values())[-1][-1]
    paths = {module: name for name, module in block.named_modules()}
    found = sublayers(block, model.config.hidden_size)
    assert [paths[one.writer] for one in found] == WRITERS[family]
    assert [one.is_attention for one in found] == [True] * (len(found) - 1) + [False] * bool(found)
    if family in READERS:
        assert paths[found[-1].reader] == READERS[family]


@pytest.mark.parametrize("family", OUTSIDE)
def test_what_stands_before_the_blocks(backbone, family):
    model = backbone(family)
    before, inside = input_parameters(model), tuple(f"{name}." for name in stacks(model))
    rest = {n for n, p in model.named_parameters() if id(p) not in before and not n.startswith(inside)}
    assert rest == OUTSIDE[family]


def test_a_list_of_plain_layers_is_no_stack():
    model = nn.Module()
    model.projections = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model.mixed = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)), nn.ModuleList([nn.Linear(2, 2)])])
    model.blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(3)])
    assert list(stacks(model)) == ["blocks"]
