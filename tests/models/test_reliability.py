"""Bins of a calibration error: whose a value on an edge is, ties, and few values."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from finelab.models.reliability import equal_mass, equal_width


def test_the_known_case():
    """Methods 3.8: every bin holds one row."""
    confidence, right = torch.tensor([0.95, 0.85, 0.65, 0.55]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert equal_width(confidence, right).error() == pytest.approx(0.45)
    assert equal_mass(confidence, right).error() == pytest.approx(0.45)


def test_an_edge_belongs_to_the_bin_below_and_a_certain_answer_to_the_last():
    bins = equal_width(torch.tensor([0.2, 0.201, 0.8, 1.0, 0.99]), torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]))
    assert bins.rows.nonzero().flatten().tolist() == [2, 3, 11, 14]
    assert bins.rows[14] == 2


def test_torchmetrics_defines_other_bins():
    """A wrong answer of probability 1 and a right one of .97 share the bin (14/15, 1], where half is right."""
    probabilities = torch.tensor([[1.0, 0.0], [0.97, 0.03]])
    ours = equal_width(torch.tensor([1.0, 0.97]), torch.tensor([0.0, 1.0])).error()
    theirs = multiclass_calibration_error(probabilities, torch.tensor([1, 0]), num_classes=2).item()
    assert ours == pytest.approx(abs(1.0 - 1.97) / 2)
    assert theirs == pytest.approx((1.0 + 0.03) / 2)


def test_the_order_of_equal_confidences_does_not_matter():
    confidence = torch.tensor([0.5] * 8 + [0.9] * 7)
    right = torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0])
    found = {
        round(equal_mass(confidence[order], right[order], bins=4).error(), 12)
        for order in (torch.randperm(15, generator=torch.Generator().manual_seed(seed)) for seed in range(20))
    }
    # 8 of .5 with half right, and 7 of .9 with 6/7 right
    assert len(found) == 1 and found.pop() == pytest.approx((4 - 4 + 6.3 - 6) / 15, abs=1e-6)


def test_bins_of_equal_mass_hold_as_many_each():
    confidence = torch.rand(100, generator=torch.Generator().manual_seed(0))
    bins = equal_mass(confidence, (confidence > 0.5).double())
    assert bins.rows.tolist() == [7] * 10 + [6] * 5
    assert (bins.lower[1:] == bins.upper[:-1]).all() and bins.upper[-1] == confidence.max()
    assert equal_mass(confidence[:3], torch.ones(3)).rows.tolist() == [1, 1, 1]


def test_the_table_has_no_number_for_an_empty_bin():
    table = equal_width(torch.tensor([0.95, 0.97]), torch.tensor([1.0, 0.0])).table()
    assert table["rows"] == [0] * 14 + [2]
    assert table["accuracy"] == [None] * 14 + [0.5]
    assert table["confidence"][14] == pytest.approx(0.96)
    assert (table["lower"][0], table["upper"][-1]) == (0.0, 1.0)
