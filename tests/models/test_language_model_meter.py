"""Closed forms, what is missing, and two tokenizers on the same texts."""

import math

import pytest
import torch

from finelab.models.language_model_meter import LanguageModelMeter
from finelab.models.scored import Scored


def measured(nll, **batch):
    """Of a meter that has seen one token with this loss."""
    meter = LanguageModelMeter()
    target, row = torch.tensor([1]), torch.zeros(1, dtype=torch.long)
    meter.update(Scored(torch.zeros(1, 2), target, row, torch.tensor([nll])), batch)
    return meter


def test_a_perplexity_that_no_number_holds_is_missing():
    meter = measured(1000.0)
    assert meter.compute() == {"nll": 1000.0}
    assert meter.missing()["perplexity"] == "exp(1000) is too large a number"
    assert measured(700.0).compute()["perplexity"] == pytest.approx(math.exp(700.0))


def test_characters_that_nobody_counted_are_missing():
    assert measured(1.0).missing().keys() == {"bits_per_char", "bits_per_byte"}
    counted = measured(math.log(2), chars=torch.tensor([2]), bytes=torch.tensor([4]))
    assert counted.compute() == pytest.approx(
        {"nll": math.log(2), "perplexity": 2, "bits_per_char": 0.5, "bits_per_byte": 0.25}
    )


def test_of_sets_together_bits_speak_of_those_that_have_characters():
    meter = measured(math.log(2), chars=torch.tensor([2]), bytes=torch.tensor([4]))
    meter.update(Scored(torch.zeros(1, 2), torch.tensor([1]), torch.zeros(1).long(), torch.tensor([9.0])), {})
    assert meter.compute()["bits_per_char"] == pytest.approx(0.5)


def test_a_diverged_model_is_not_finite_and_not_missing():
    found = measured(math.nan).compute()
    assert math.isnan(found["nll"]) and math.isnan(found["perplexity"])
