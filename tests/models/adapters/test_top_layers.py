"""TopLayers trains the last blocks and the norm behind them."""

import functools

import pytest

from finelab.contracts.errors import UserError
from finelab.models.adapters import TopLayers

from .in_place import keeps_its_promises, makers

H, INNER = 32, 64
BERT_BLOCK = 4 * (H * H + H) + (H * INNER + INNER) + (INNER * H + H) + 2 * 2 * H
LLAMA_BLOCK = 2 * H * H + 2 * H * (H // 2) + 3 * H * INNER + 2 * H
T5_DECODER_BLOCK = 8 * H * H + 2 * H * INNER + 3 * H
POSITIONS = 32 * 4
"""T5's first block holds the relative positions of its stack, of 4 heads."""
COUNTS = {
    ("bert", 1): BERT_BLOCK,
    ("bert", 2): 2 * BERT_BLOCK,
    ("llama", 1): LLAMA_BLOCK + H,
    ("t5", 1): T5_DECODER_BLOCK + H,
    ("t5", 2): 2 * T5_DECODER_BLOCK + POSITIONS + H,
}


@pytest.mark.parametrize("kind", ["class", "tokens"])
def test_it_trains_the_last_block_and_a_head(sgd, loader, fit, flat, tmp_path, kind):
    make = functools.partial(makers(sgd)[kind], adapter=TopLayers(1))
    keeps_its_promises(make, loader(4, classes=3 if kind == "class" else None), fit, flat, tmp_path)


@pytest.mark.parametrize(("family", "k"), COUNTS)
def test_parameters(backbone, family, k):
    model = TopLayers(k).adapt(backbone(family))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == COUNTS[family, k]


def test_the_vocabulary_layer_and_the_embeddings_stay(backbone, trained_names):
    expected = {"llama": ("model.layers.1.", "model.norm."), "gpt2": ("transformer.h.1.", "transformer.ln_f.")}
    expected |= {"t5": ("decoder.block.1.", "decoder.final_layer_norm."), "bart": ("model.decoder.layers.2.",)}
    for family, allowed in expected.items():
        assert all(name.startswith(allowed) for name in trained_names(TopLayers(1).adapt(backbone(family))))


@pytest.mark.parametrize("k", [0, 3])
def test_other_numbers_of_blocks_are_refused(backbone, k):
    with pytest.raises(UserError, match=f"k={k}, and BertModel has 2 blocks"):
        TopLayers(k).adapt(backbone("bert"))
