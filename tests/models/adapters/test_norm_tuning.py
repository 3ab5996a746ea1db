"""NormTuning trains the gains and biases of every norm."""

import functools

import pytest

from finelab.contracts.errors import UserError
from finelab.models.adapters import NormTuning

from .in_place import keeps_its_promises, makers

H, L = 32, 2
COUNTS = {"bert": 2 * H * (2 * L + 1), "llama": H * (2 * L + 1), "t5 encoder": H * (2 * L + 1)}
COUNTS |= {"t5": H * (2 * L + 1) + H * (3 * L + 1), "gpt2": 2 * H * (2 * L + 1)}


@pytest.mark.parametrize("kind", ["class", "tokens"])
def test_it_trains_the_norms_and_a_head(sgd, loader, fit, flat, tmp_path, kind):
    make = functools.partial(makers(sgd)[kind], adapter=NormTuning())
    keeps_its_promises(make, loader(4, classes=3 if kind == "class" else None), fit, flat, tmp_path)


@pytest.mark.parametrize("family", COUNTS)
def test_parameters(backbone, family, trained_names):
    model = NormTuning().adapt(backbone(family))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == COUNTS[family]
    named = ("norm", "ln_")
    assert trained_names(model) == {n for n, _ in model.named_parameters() if any(part in n.lower() for part in named)}


def test_a_base_without_norms_is_refused(backbone):
    model = backbone("llama")
    for name, module in list(model.named_modules()):
        if name.endswith("norm"):
            model.set_submodule(name, type("Scale", (type(module),), {})(H))
    with pytest.raises(UserError, match="no norm"):
        NormTuning().adapt(model)
