"""The temperature of one pass against a direct minimisation over all logits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from finelab.callbacks.temperature import TemperatureFit


def made_up(case):
    """Logits whose labels were drawn at another temperature."""
    generator = torch.Generator().manual_seed(case)
    rows, classes = [30, 200, 1000][case % 3], [2, 3, 6, 77][case % 4]
    logits = torch.randn(rows, classes, generator=generator) * [1.0, 4.0][case % 2]
    p = (logits * [0.4, 1.0, 1.8][case % 3]).softmax(-1)
    return logits, p.multinomial(1, generator=generator).squeeze(1)


def fitted(logits, targets, size=32):
    fit = TemperatureFit()
    for part, labels in zip(logits.split(size), targets.split(size), strict=True):
        fit.add(part, labels)
    return fit.solve()


def minimum(logits, targets, near):
    values = logits.double()

    def nll(log: float) -> float:
        return F.cross_entropy(values / math.exp(log), targets).item()

    bounds = (math.log(near) - 1, math.log(near) + 1)
    return math.exp(minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x)


@pytest.mark.parametrize("case", range(24))
def test_one_pass_finds_the_minimum(case):
    logits, targets = made_up(case)
    found = fitted(logits, targets)
    assert found == pytest.approx(minimum(logits, targets, found), rel=1e-5)
    assert fitted(logits, targets, size=1000) == pytest.approx(found, rel=1e-9)


def test_impossible_choices_change_nothing():
    logits, targets = made_up(1)
    wide = torch.cat([logits, torch.full((len(logits), 1), -1e9), torch.full((len(logits), 1), -math.inf)], 1)
    assert fitted(wide, targets) == pytest.approx(fitted(logits, targets), rel=1e-9)


def test_two_ranks_find_what_one_finds():
    logits, targets = made_up(5)
    parts = [TemperatureFit(), TemperatureFit()]
    for rank, part in enumerate(parts):
        part.add(logits[rank::2], targets[rank::2])
    assert TemperatureFit.of_ranks(parts).solve() == pytest.approx(fitted(logits, targets), rel=1e-9)


def test_where_there_is_no_minimum_a_reason_stands():
    logits = torch.eye(4) * 3
    assert "nearly every prediction is right" in fitted(logits, torch.arange(4))
    assert "do not tell the labels" in fitted(logits, (torch.arange(4) + 1) % 4)
    assert TemperatureFit().solve() == "there is nothing to fit a temperature on"


def test_bfloat16_logits_are_read_as_they_are():
    logits, targets = made_up(2)
    half = logits.bfloat16()
    assert np.isclose(fitted(half, targets), fitted(half.float(), targets), rtol=1e-12)
