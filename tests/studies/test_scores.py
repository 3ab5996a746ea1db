"""Each kind of key, and the reason where a run has not the number."""

import pytest

from finelab.contracts.record import Best, Cost, Record, SplitResult
from finelab.studies.scores import MissingScore, mode_of, score

BEFORE = {"majority": {"accuracy": 0.2}, "probe": {"accuracy": 0.7, "nll": 0.9}}


@pytest.fixture
def record() -> Record:
    return Record(
        status="finished", started="", command=[], seeds={"data": 1, "init": 1, "train": 1}, config_digest="ab",
        base="tiny://bert", parameters={"trainable": 12, "total": 30}, adapter={}, data={},
        metrics={
            "validation": SplitResult(200, BEFORE, {"accuracy": 0.8, "nll": 0.5}, {"mcc": "only one class"}),
            "validation/tales": SplitResult(20, {}, {"nll": 2.5}),
        },
        best=Best("val/accuracy", "max", 0.8, 40), history=[], examples={}, test_read=False, order_digest=None,
        cost=Cost(20.0, 12.5, 60, 0, 640, 640, 9000, 1_000), versions={}, hardware={},
        findings={"forgetting": {"general": {"difference": 0.4}, "drift": {"missing": "a new head"}, "course": [1]}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation/accuracy", 0.8),
        ("validation/tales/nll", 2.5),
        ("delta/validation/accuracy", pytest.approx(0.1)),
        ("cost/training_seconds", 12.5),
        ("cost/examples_per_second", 640 / 12.5),
        ("parameters/trainable", 12.0),
        ("best/step", 40.0),
        ("forgetting/general/difference", 0.4),
    ],
)
def test_every_kind_of_key(record, key, value):
    assert score(record, key) == value


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("test/accuracy", "the test split was not read"),
        ("validation/mcc", "only one class"),
        ("validation/f1", "not among accuracy, nll"),
        ("validation/other/nll", "no validation/other split"),
        ("delta/validation/mcc", "only one class"),
        ("delta/validation/tales/nll", "no reference before training"),
        ("delta/test/accuracy", "the test split was not read"),
        ("cost/dollars", "not a number"),
        ("parameters/frozen", "not a number"),
        ("forgetting/drift/value", "a new head"),
        ("forgetting/general/other", "at 'other'"),
        ("forgetting/course", "not a number"),
        ("calibration/ece", "at 'calibration' there is forgetting"),
    ],
)
def test_what_is_missing_has_its_reason(record, key, why):
    with pytest.raises(MissingScore, match=why):
        score(record, key)


def test_which_way_is_better():
    assert mode_of("test/accuracy") == mode_of("delta/test/tales/accuracy") == "max"
    assert mode_of("test/nll") == mode_of("cost/training_seconds") == mode_of("parameters/trainable") == "min"
    assert mode_of("best/step") is None and mode_of("forgetting/general/difference") is None
