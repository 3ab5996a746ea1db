"""The temperature and what it does, of a short fit, against a direct computation."""

import functools
import json

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from peft import LoraConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from finelab import models
from finelab.callbacks import Calibration, ConfusionFigures, FinalEvaluation, Overfitting, Probes
from finelab.callbacks.calibration import Answers, halves
from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.results import Results
from finelab.callbacks.standard import standard_callbacks
from finelab.models.reliability import equal_width


def measured(fit, module, data, **options):
    """A calibration at the end of a fit, and the trainer."""
    calibration = Calibration()
    trainer = fit(module, data, [Probes(), calibration, FinalEvaluation()], **options)
    return calibration.findings(), trainer


def logits_of(module, data, chosen):
    """Of the validation rows with these sample ids, in one batch."""
    rows = [each for each in data.loader("validation").dataset if int(each["id"]) in chosen]
    batch = data.loader("validation").collate_fn(rows)
    with undisturbed(module):
        found = module.score(batch)
    return found.logits.double(), found.targets


def test_it_is_fitted_on_the_first_half_and_measured_on_the_second(fit, classifier, data) -> None:
    module, source = classifier(), data()
    found, trainer = measured(fit, module, source, max_epochs=3)
    json.dumps(found, allow_nan=False)
    first = halves(trainer)
    assert found["rows"] == {"val_a": 5, "val_b": 5} and len(first) == 10
    logits, targets = logits_of(module, source, {sample for sample, chosen in first.items() if chosen})
    grid = torch.logspace(-1.3, 1.3, 20001, dtype=torch.float64)
    nll = torch.stack([F.cross_entropy(logits / scale, targets) for scale in grid])
    assert found["temperature"] == pytest.approx(grid[nll.argmin()].item(), rel=1e-3)
    logits, targets = logits_of(module, source, {sample for sample, chosen in first.items() if not chosen})
    for when, scale in (("before", 1.0), ("after", found["temperature"])):
        p = (logits / scale).softmax(-1)
        own = found[when]
        assert own["nll"] == pytest.approx(F.cross_entropy(logits / scale, targets).item(), rel=1e-5)
        assert own["brier"] == pytest.approx((p - F.one_hot(targets, 2)).square().sum(-1).mean().item(), rel=1e-5)
        confidence, prediction = p.max(-1)
        expected = equal_width(confidence, (prediction == targets).double())
        assert own["ece"] == pytest.approx(expected.error(), rel=1e-5)
        assert own["reliability"]["rows"] == expected.table()["rows"]
        assert own["low"] <= own["high"] and own["calibrated"] > 0


@pytest.mark.parametrize("kind", ["text", "classes"])
def test_where_there_is_nothing_to_calibrate_a_reason_stands(kind, fit, language_model, classifier, data) -> None:
    if kind == "text":
        found, _ = measured(fit, language_model(), data("text"), max_epochs=1)
        assert found.keys() == {"missing"} and "tokens of a text" in found["missing"]
        return
    calibration = Calibration()
    fit(classifier(), data(), [calibration, FinalEvaluation()], max_epochs=1)
    assert calibration.findings() == {"missing": "it needs the two halves of a validation, see Probes"}


def test_a_model_that_is_always_right_has_no_temperature(fit, classifier, data) -> None:
    class Right(Callback):
        def on_train_end(self, trainer, pl_module) -> None:
            score = pl_module.score

            def cheating(batch):
                found = score(batch)
                found.logits = F.one_hot(found.targets, 2).float() * 4
                return found

            pl_module.score = cheating

    calibration = Calibration()
    fit(classifier(), data(), [Probes(), Right(), calibration, FinalEvaluation()], max_epochs=1)
    found = calibration.findings()
    assert "nearly every prediction is right" in found["temperature"]["missing"]
    assert found["after"] == found["temperature"]
    assert found["before"]["ece"] == pytest.approx(1 - 1 / (1 + np.exp(-4)), rel=1e-5)


def test_the_curves_and_pictures_of_a_run(fit, classifier, data, run_of, board) -> None:
    run = run_of()
    results = Results(run.directory)
    own = [Probes(), Calibration(), FinalEvaluation(results), ConfusionFigures(results)]
    fit(classifier(), data(), own, max_epochs=2, logger=board(run))
    events = EventAccumulator(str(run.directory), {"images": 0, "scalars": 0})
    events.Reload()
    assert {"calibration/reliability", "confusion/val"} == set(events.Tags()["images"])
    drift = events.Scalars("calibration/confidence_minus_accuracy")
    assert [point.step for point in drift] == [6, 12]
    assert [point.value for point in drift] == [
        point.value for point in events.Scalars("val/confidence_minus_accuracy")
    ]
    for name in ("temperature", "ece_before", "ece_after"):
        assert [point.step for point in events.Scalars(f"calibration/{name}")] == [12]
    assert np.sum(results.tables["validation"]["confusion_matrix"]["counts"]) == 10


def course_of(*entries: tuple[float, float, float]) -> Calibration:
    calibration = Calibration()
    calibration.load_state_dict({"course": [list(entry) for entry in entries]})
    return calibration


def test_the_drift_is_against_the_validation_with_the_lowest_nll() -> None:
    (found,) = course_of((10, 0.7, -0.05), (20, 0.5, 0.01), (30, 0.6, 0.21)).evidence()
    assert found.name == "calibration drift" and found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (None, None)
    said = "mean confidence less accuracy +0.210 at step 30, +0.010 at the lowest NLL (20)"
    assert found.says == f"{said}: more confident than it is right since"
    (back,) = course_of((10, 0.5, 0.3), (20, 0.6, 0.1)).evidence()
    assert back.value == pytest.approx(-0.2) and back.says.endswith("less confident for what it is right since")
    (lowest,) = course_of((10, 0.7, -0.05), (20, 0.5, 0.01)).evidence()
    assert lowest.value == 0 and lowest.says.endswith("the newest validation has the lowest NLL")
    assert Calibration().evidence() == []


def test_the_drift_stands_in_the_verdict_of_the_same_validation(fit, classifier, data, language_model, run_of) -> None:
    given = []

    class Judged(Callback):
        def on_validation_end(self, trainer, pl_module) -> None:
            (verdict,) = [each.verdict for each in trainer.callbacks if isinstance(each, Overfitting)]
            given.append({each.name: each.value for each in verdict.evidence}.get("calibration drift"))

    def train(module, source) -> tuple[Calibration, list[list[float]]]:
        standard = standard_callbacks(run_of(type(module).__name__), [Overfitting()])  # a user's own
        own = [each for each in standard if isinstance(each, Calibration | Overfitting)]
        seen = Values()
        fit(module, source, [Probes(), *own, Judged(), seen], max_epochs=3)
        (calibration,) = [each for each in own if isinstance(each, Calibration)]
        return calibration, seen.values

    calibration, seen = train(classifier(rate=0.5), data())
    assert calibration.state_dict() == {"course": seen} and len(seen) == 3
    lowest = [min(seen[: i + 1], key=lambda entry: entry[1]) for i in range(3)]
    assert given[:3] == [now[2] - best[2] for now, best in zip(seen, lowest, strict=True)]
    json.dumps(calibration.state_dict(), allow_nan=False)
    given.clear()
    calibration, _ = train(language_model(), data("text"))
    assert set(given) == {None} and calibration.state_dict() == {"course": []}


class Values(Callback):
    """Step, NLL and confidence less accuracy of every validation."""

    def __init__(self) -> None:
        self.values: list[list[float]] = []

    def on_validation_end(self, trainer, pl_module) -> None:
        found = [trainer.callback_metrics.get(f"val/{name}") for name in ("nll", "confidence_minus_accuracy")]
        self.values.append([float(trainer.global_step), *(float(value) for value in found if value is not None)])


def test_a_run_with_it_trains_the_same_weights(fit, classifier, data, flat) -> None:
    with_it, without = classifier(), classifier()
    measured(fit, with_it, data())
    fit(without, data())
    assert torch.equal(flat(with_it), flat(without))


def test_two_passes_over_validation_are_all_that_it_costs(fit, classifier, data) -> None:
    class Passes(Callback):
        seen = 0

        def on_train_end(self, trainer, pl_module) -> None:
            score = pl_module.score

            def counted(batch):
                Passes.seen += 1
                return score(batch)

            pl_module.score = counted

    batches = len(data().loader("validation"))
    for measures, expected in (([Probes(), Passes()], 1), ([Probes(), Passes(), Calibration()], 3)):
        Passes.seen = 0
        fit(classifier(), data(), [*measures, FinalEvaluation()], max_epochs=1)
        assert Passes.seen == expected * batches


def test_tags_and_choices_are_predictions_too() -> None:
    """Their targets are calibrated as classes are; a regression is not."""
    from finelab.callbacks.calibration import unsuited

    make = functools.partial(functools.partial, optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    adapter = LoraConfig(r=2, target_modules="all-linear")
    tags = make(models.TokenClassifier)("tiny://bert", adapter, labels=["O", "B-X"])
    choice = make(models.MultipleChoice)("tiny://bert", adapter)
    number = make(models.SequenceRegressor)("tiny://bert", adapter)
    assert [unsuited(tags), unsuited(choice)] == ["", ""]
    assert unsuited(number) == "the target is not one class out of several"


def test_an_impossible_label_is_a_reason_and_no_infinity() -> None:
    answers = Answers(1.0)
    answers.add(torch.tensor([[0.0, -torch.inf], [1.0, 0.0]]), torch.tensor([1, 0]), [0, 1])
    assert "one of a label is 0" in answers.summary()["missing"]
