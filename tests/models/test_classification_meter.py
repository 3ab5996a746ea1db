"""What a split does not define, and the tables; the values are in test_metric_values.py."""

import json
import math

import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from finelab.models.classification_meter import ClassificationMeter
from finelab.models.scored import Scored

LABELS = ["a", "b", "c"]


def measured(targets, predictions, labels=LABELS):
    meter = ClassificationMeter(labels)
    logits = torch.eye(len(labels))[torch.tensor(predictions)] * 2
    meter.update(Scored.of(logits, torch.tensor(targets), torch.arange(len(targets))), {})
    return meter


@pytest.mark.parametrize(
    ("targets", "predictions", "reason"),
    [
        ([1, 1, 1], [0, 1, 2], "all labels are 'b'"),
        ([0, 1, 2], [2, 2, 2], "all predictions are 'c'"),
        ([1, 1], [1, 1], "all predictions are 'b'"),
    ],
    ids=["labels", "predictions", "both"],
)
def test_one_class_alone_has_no_correlation(targets, predictions, reason):
    meter = measured(targets, predictions)
    assert meter.missing() == {"mcc": reason}
    assert "mcc" not in meter.compute() and math.isnan(meter.logged()["mcc"])


def test_a_class_that_nobody_has_and_nobody_predicts_does_not_count():
    found = measured([0, 0, 1, 1], [0, 1, 1, 1]).compute()
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert measured([0, 0, 1, 1], [0, 1, 1, 2]).compute()["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_tables_are_those_of_scikit_learn_and_json():
    targets, predictions = [0, 0, 1, 1, 0], [0, 1, 1, 1, 0]
    tables = json.loads(json.dumps(measured(targets, predictions).tables(), allow_nan=False))
    assert tables["confusion_matrix"] == {
        "labels": LABELS,
        "counts": confusion_matrix(targets, predictions, labels=range(3)).tolist(),
    }
    precision, recall, f1, rows = precision_recall_fscore_support(targets, predictions, labels=[0, 1])
    table = tables["per_class"]
    assert table["rows"] == [*rows.tolist(), 0]
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert table[name] == [pytest.approx(expected[0]), pytest.approx(expected[1]), None]
    assert sum(tables["reliability"]["rows"]) == 5


def test_a_recall_without_rows_is_none_and_one_never_predicted_is_zero():
    table = measured([0, 1], [2, 2]).tables()["per_class"]
    assert table["recall"] == [0.0, 0.0, None]
    assert table["precision"] == [None, None, 0.0]
    assert table["f1"] == [0.0, 0.0, 0.0]


def test_more_than_a_hundred_classes_have_no_tables():
    labels = [str(number) for number in range(101)]
    tables = measured([3, 100], [3, 4], labels).tables()
    reason = {"missing": "101 labels, and tables have at most 100"}
    assert tables["confusion_matrix"] == tables["per_class"] == reason
    assert measured([3, 100], [3, 4], labels).compute()["accuracy"] == 0.5


def test_a_diverged_model_is_not_finite_and_not_missing():
    meter = ClassificationMeter(LABELS)
    meter.update(Scored.of(torch.full((4, 3), math.nan), torch.tensor([0, 1, 2, 0]), torch.arange(4)), {})
    assert math.isnan(meter.compute()["nll"]) and "nll" not in meter.missing()
    assert math.isnan(meter.compute()["ece"])


def test_nothing_supervised_is_missing():
    assert ClassificationMeter(LABELS).missing() == {"nll": "there is nothing supervised in these rows"}
    assert ClassificationMeter(LABELS).compute() == {}
