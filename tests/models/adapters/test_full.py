"""Full trains everything."""

import functools

import pytest

from finelab.models.adapters import Full

from .in_place import keeps_its_promises, makers


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_every_parameter_trains(backbone, family):
    assert all(p.requires_grad for p in Full().adapt(backbone(family).requires_grad_(False)).parameters())


def test_it_keeps_its_promises(sgd, loader, fit, flat, tmp_path):
    keeps_its_promises(functools.partial(makers(sgd)["tokens"], adapter=Full()), loader(4), fit, flat, tmp_path)
