"""LinearProbe trains a new head and nothing else."""

import functools

import pytest
import torch

from finelab.contracts.errors import UserError
from finelab.models.adapters import LinearProbe

from .in_place import makers


def test_the_backbone_is_the_base_on_or_off(sgd, loader, fit):
    module, train = makers(sgd)["class"](adapter=LinearProbe()), loader(4, classes=3)
    module.configure_model()
    batch, before = next(iter(train)), {n: p.clone() for n, p in module.adapted.state_dict().items()}
    with torch.no_grad():
        start = module.eval()(batch)
        fit(module.train(), train, max_epochs=1)
        tuned = module.eval()(batch)
        with module.as_base():
            assert torch.equal(module(batch).hidden, start.hidden)
    assert torch.equal(tuned.hidden, start.hidden) and not torch.equal(tuned.logits, start.logits)
    assert all(torch.equal(p, before[n]) for n, p in module.adapted.state_dict().items())


def test_what_trains_is_the_head(sgd):
    module = makers(sgd)["class"](adapter=LinearProbe())
    module.configure_model()
    assert module.parameter_counts()[0] == 3 * (32 + 1)


def test_a_target_without_a_head_is_refused(sgd):
    with pytest.raises(UserError, match="nothing to train"):
        functools.partial(makers(sgd)["tokens"], adapter=LinearProbe())().configure_model()
