"""Metrics of entities, numbers, label sets and choices against seqeval, scipy and scikit-learn."""

import math
import random

import pytest
import torch
from scipy import stats
from seqeval.metrics import f1_score as entity_f1
from seqeval.metrics import precision_score as entity_precision
from seqeval.metrics import recall_score as entity_recall
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, r2_score

from finelab.models.choice_meter import ChoiceMeter
from finelab.models.likelihoods import Bernoulli, Gaussian
from finelab.models.multi_label_meter import MultiLabelMeter
from finelab.models.multiple_choice import IMPOSSIBLE
from finelab.models.regression_meter import RegressionMeter
from finelab.models.scored import Scored
from finelab.models.span_meter import SpanMeter, is_bio, spans

TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def made_up_tags(rows, seed):
    chance = random.Random(seed)
    return [[chance.choice(TAGS) for _ in range(chance.randint(1, 12))] for _ in range(rows)]


def test_spans_are_those_of_seqeval_valid_or_not():
    for tags in made_up_tags(500, 0):
        expected = [(kind, start, end + 1) for kind, start, end in get_entities(tags)]
        assert [tuple(span) for span in spans(tags)] == expected, tags


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["I-X", "I-X", "O"], [("X", 0, 2)]),
        (["B-X", "I-Y"], [("X", 0, 1), ("Y", 1, 2)]),
        (["B-X", "B-X"], [("X", 0, 1), ("X", 1, 2)]),
        (["O", "O"], []),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value[:1], list) else None,
)
def test_spans_of_known_cases(tags, expected):
    assert [tuple(span) for span in spans(tags)] == expected


@pytest.mark.parametrize("size", [1, 7, 60])
def test_span_meter_is_seqeval_whatever_the_batch(size):
    true = made_up_tags(60, 1)
    chance = random.Random(2)
    found = [[tag if chance.random() < 0.7 else chance.choice(TAGS) for tag in row] for row in true]
    meter = SpanMeter(TAGS)
    for start in range(0, 60, size):
        targets, logits, rows = [], [], []
        for row, (real, guess) in enumerate(zip(true[start : start + size], found[start : start + size], strict=True)):
            targets += [TAGS.index(tag) for tag in real]
            logits += [[5.0 * (tag == other) for other in TAGS] for tag in guess]
            rows += [row] * len(real)
        meter.update(Scored.of(torch.tensor(logits), torch.tensor(targets), torch.tensor(rows)), {})
    metrics = meter.compute()
    assert metrics["precision"] == pytest.approx(entity_precision(true, found))
    assert metrics["recall"] == pytest.approx(entity_recall(true, found))
    assert metrics["f1"] == pytest.approx(entity_f1(true, found))
    words = [(a, b) for real, guess in zip(true, found, strict=True) for a, b in zip(real, guess, strict=True)]
    assert metrics["accuracy"] == pytest.approx(sum(a == b for a, b in words) / len(words))


def span_meter(true, found):
    """Of one row with these tags."""
    meter = SpanMeter(TAGS)
    logits = 9 * torch.eye(5)[[TAGS.index(tag) for tag in found]]
    targets = torch.tensor([TAGS.index(tag) for tag in true])
    meter.update(Scored.of(logits, targets, torch.zeros(len(true)).long()), {})
    return meter


def test_spans_that_are_not_there_or_not_found_are_missing_and_not_zero():
    nothing = span_meter(["O"], ["O"])
    assert nothing.compute().keys() == {"nll", "accuracy"}
    assert nothing.missing() == {
        "precision": "no entity was predicted",
        "recall": "there is no entity in these rows",
        "f1": "there is no entity in these rows, and no entity was predicted",
    }
    unseen = span_meter(["B-X", "O"], ["O", "O"])
    assert (unseen.missing().keys(), unseen.compute()["recall"], unseen.compute()["f1"]) == ({"precision"}, 0.0, 0.0)
    invented = span_meter(["O", "O"], ["B-X", "O"])
    assert (invented.missing().keys(), invented.compute()["f1"]) == ({"recall"}, 0.0)


def test_entities_by_kind():
    table = span_meter(["B-X", "O", "B-Y", "O", "B-Y"], ["B-X", "B-X", "B-Y", "O", "O"]).tables()["per_class"]
    assert table == {
        "label": ["X", "Y"],
        "rows": [1, 2],
        "predicted": [2, 1],
        "precision": [0.5, 1.0],
        "recall": [1.0, 0.5],
        "f1": [pytest.approx(2 / 3), pytest.approx(2 / 3)],
    }


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(["O", "B-X", "I-X"], True), (["B-X"], True), (["O"], False), (["NOUN", "O"], False), (["O", "B-"], False)],
    ids=str,
)
def test_bio_is_told_from_plain_tags(tags, expected):
    assert is_bio(tags) == expected


def test_regression_meter_against_scipy_with_ties_and_a_large_mean():
    generator = torch.Generator().manual_seed(0)
    y = (torch.randn(50, generator=generator) * 3).round() + 1000
    p = y + torch.randn(50, generator=generator)
    meter = RegressionMeter()
    for rows in torch.arange(50).split(7):
        meter.update(Scored.of(p[rows, None], y[rows], rows, Gaussian()), {})
    found = meter.compute()
    y, p = y.double().numpy(), p.double().numpy()
    assert found["mse"] == pytest.approx(((p - y) ** 2).mean())
    assert found["mae"] == pytest.approx(abs(p - y).mean())
    assert found["nll"] == pytest.approx(found["mse"] / 2 + 0.5 * math.log(2 * math.pi), rel=1e-6)
    assert found["r2"] == pytest.approx(r2_score(y, p))
    assert found["pearson"] == pytest.approx(stats.pearsonr(p, y).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(p, y).statistic)


def test_a_constant_prediction_has_no_correlation():
    meter = RegressionMeter()
    y = torch.tensor([1.0, 2.0, 3.0])
    meter.update(Scored.of(torch.full((3, 1), 2.0), y, torch.arange(3), Gaussian()), {})
    found = meter.compute()
    assert found.keys() == {"nll", "mse", "mae", "r2"}
    assert found["r2"] == pytest.approx(0.0)
    assert meter.missing() == dict.fromkeys(("pearson", "spearman"), "all predictions are 2")
    logged = meter.logged()
    assert found.items() <= logged.items() and math.isnan(logged["pearson"]) and math.isnan(logged["spearman"])


def test_equal_targets_have_no_r2_either():
    meter = RegressionMeter()
    meter.update(Scored.of(torch.randn(3, 1), torch.full((3,), 0.5), torch.arange(3), Gaussian()), {})
    assert meter.missing() == dict.fromkeys(("r2", "pearson", "spearman"), "all targets are 0.5")


def test_multi_label_meter_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(50, 4, generator=generator), torch.randint(0, 2, (50, 4), generator=generator)
    meter = MultiLabelMeter(list("abcd"))
    for rows in torch.arange(50).split(7):
        meter.update(Scored.of(logits[rows], targets[rows], rows, Bernoulli()), {})
    found, guess = meter.compute(), logits > 0
    assert found["nll"] == pytest.approx(Bernoulli().nll(logits, targets).mean().item(), rel=1e-6)
    assert found["micro_f1"] == pytest.approx(f1_score(targets, guess, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(targets, guess, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(targets, guess))
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(targets, logits), abs=1e-6)


def test_a_label_that_no_row_has_is_left_out_of_the_mean_precision():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(20, 3, generator=generator), torch.randint(0, 2, (20, 3), generator=generator)
    targets[:, 1] = 0
    meter, nobody = MultiLabelMeter(list("abc")), MultiLabelMeter(list("abc"))
    meter.update(Scored.of(logits, targets, torch.arange(20), Bernoulli()), {})
    expected = average_precision_score(targets[:, [0, 2]], logits[:, [0, 2]])
    assert meter.compute()["mean_average_precision"] == pytest.approx(expected, abs=1e-6)
    nobody.update(Scored.of(-logits.abs(), torch.zeros_like(targets), torch.arange(20), Bernoulli()), {})
    assert nobody.compute().keys() == {"nll", "subset_accuracy"}
    nothing = dict.fromkeys(("micro_f1", "macro_f1"), "no row has a label, and none is predicted")
    assert nobody.missing() == nothing | {"mean_average_precision": "no row has a label"}
    assert math.isnan(nobody.logged()["mean_average_precision"])


def test_choices_that_are_not_there_are_never_chosen():
    logits = torch.tensor([[-3.0, -2.0, IMPOSSIBLE], [0.0, 1.0, 2.0]])
    meter = ChoiceMeter()
    meter.update(Scored.of(logits, torch.tensor([1, 0]), torch.arange(2)), {})
    found = meter.compute()
    assert found["accuracy"] == 0.5
    first = math.log(1 + math.exp(-1))
    second = math.log(1 + math.exp(1) + math.exp(2))
    assert found["nll"] == pytest.approx((first + second) / 2, rel=1e-6)
