"""BitFit trains every bias, and says so where there is none."""

import functools

import pytest

from finelab.contracts.errors import UserError
from finelab.models.adapters import BitFit

from .in_place import keeps_its_promises, makers


def test_it_trains_the_biases_and_a_head(sgd, loader, fit, flat, tmp_path):
    make = functools.partial(makers(sgd)["class"], adapter=BitFit())
    keeps_its_promises(make, loader(4, classes=3), fit, flat, tmp_path)


def test_parameters_of_bert(backbone, trained_names):
    """L (7 H + I) + H: three inputs and the output of the attention, the FFN's two, two norms; the embedding's norm."""
    model = BitFit().adapt(backbone("bert"))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * (7 * 32 + 64) + 32
    assert trained_names(model) == {name for name, _ in model.named_parameters() if name.endswith("bias")}


def test_gpt2_has_biases_in_its_transposed_layers(backbone):
    """L (9 H + I) with its norms, I = 4 H, and the last norm: the attention's input layer has 3 H."""
    model = BitFit().adapt(backbone("gpt2"))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * ((3 + 1 + 4 + 1 + 2) * 32) + 32


@pytest.mark.parametrize("family", ["llama", "t5", "qwen3"])
def test_a_base_without_biases_is_refused(backbone, family):
    with pytest.raises(UserError, match="has none.*NormTuning"):
        BitFit().adapt(backbone(family))
