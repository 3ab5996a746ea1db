"""Where a run stops, what it says then, and which weights it ends with."""

import logging
import os

import lightning as L
import numpy as np
import pytest
import torch

from finelab import callbacks
from finelab.callbacks.baseline import all_watched
from finelab.callbacks.stopping import GL, PQ, UP, Patience
from finelab.contracts.errors import UserError
from finelab.models import finetuner

from .conftest import MadeUpData, collate, made_up
from .ranks import AS_RANKS, in_two_ranks
from .stopped_runs import Case, Stop, compare


class Script(L.Callback):
    """Replaces a validation metric by a script, and remembers the weights at each validation."""

    def __init__(self, values, flat, name: str) -> None:
        self.values, self.flat, self.name, self.weights = iter(values), flat, name, []

    def on_validation_end(self, trainer, pl_module) -> None:
        trainer.callback_metrics  # noqa: B018  (reading fills the table that the next line writes to)
        trainer._logger_connector._callback_metrics[self.name] = torch.tensor(next(self.values))
        trainer._results.clear()
        self.weights.append(self.flat(pl_module))


class ProbedData(MadeUpData):
    """Its first training rows may be looked at."""

    def probe_loader(self, rows: int):
        own = slice(int(os.environ.get("RANK", 0)), rows, int(os.environ.get("WORLD_SIZE", 1)))
        return [collate(made_up("train", self.kind)[own])]

    def document_of(self, split: str, samples: np.ndarray) -> np.ndarray:
        return samples


@pytest.fixture
def said(caplog):
    """The sentences about stopping."""
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    return lambda: [record.message for record in caplog.records if record.message.startswith("Early stopping")]


def test_it_watches_the_metric_that_picks_the_weights(fit, classifier, language_model, data, flat, said) -> None:
    for module, kind, name, values, sentence in (
        (classifier(), "classes", "val/accuracy", [0.5, 0.6, 0.6, 0.55, 0.9], "is 0.55; the best was 0.6 at step 12."),
        (language_model(), "text", "val/nll", [3.0, 2.0, 2.0, 2.5, 0.9], "is 2.5; the best was 2 at step 12."),
    ):
        stop = callbacks.EarlyStopping(patience=2)
        trainer = fit(module, data(kind), [Script(values, flat, name), stop], max_epochs=5)
        assert (stop.monitor, trainer.current_epoch, stop.wait_count, stop.stopped_epoch) == (name, 4, 2, 3)
        reason = "Early stopping at step 24 by Patience: 2 evaluations without an improvement (limit 2). "
        assert said()[-1] == stop.stopping_reason_message == f"{reason}{name} {sentence}"
    assert len(said()) == 2


def test_a_run_without_validation_is_never_stopped(fit, classifier, data) -> None:
    source = data()
    source.splits = ("train",)
    assert fit(classifier(), source, [callbacks.EarlyStopping()], max_epochs=3).current_epoch == 3


def test_a_sentence_is_said_once_although_the_trainer_goes_on(fit, classifier, data, flat, said) -> None:
    script = Script([0.9, 0.1, 0.1, 0.1], flat, "val/accuracy")
    trainer = fit(classifier(), data(), [script, callbacks.EarlyStopping(patience=1)], max_epochs=6, min_epochs=4)
    assert (trainer.current_epoch, len(said())) == (4, 1)


FALLS, RISES = [3.0, 2.0], [2.05, 2.1, 2.5, 2.6, 2.7, 2.8]


@pytest.mark.parametrize(
    ("criterion", "evaluations"),
    [(Patience(3), 5), (GL(4), 4), (PQ(1e-6, k=2), 4), (UP(2, k=2), 6)],
    ids=["patience", "gl", "pq", "up"],
)
def test_the_best_weights_are_restored_and_the_base_is_read_once(
    criterion, evaluations, fit, language_model, flat, said, tmp_path, monkeypatch
) -> None:
    loads = []
    monkeypatch.setattr(finetuner, "load", lambda *args, load=finetuner.load: loads.append(args) or load(*args))
    script, best = Script(FALLS + RISES, flat, "val/nll"), callbacks.BestCheckpoint(tmp_path)
    stop = callbacks.EarlyStopping(criterion=criterion)
    module = language_model(rate=0.05)
    trainer = fit(module, ProbedData("text"), [callbacks.Probes(), script, stop, best], max_epochs=8)
    assert len(script.weights) == trainer.current_epoch == evaluations
    assert torch.equal(flat(module), script.weights[1]) and not torch.equal(flat(module), script.weights[-1])
    assert len(loads) == 1
    (sentence,) = said()
    assert f"by {type(criterion).__name__}: " in sentence and f"at step {6 * evaluations} " in sentence
    assert sentence.endswith("the best was 2 at step 12, whose weights are restored.")


def test_auto_takes_the_noise_of_the_rows(fit, language_model, flat) -> None:
    probes = callbacks.Probes()
    fit(language_model(rate=0.05), ProbedData("text"), [probes], max_epochs=3)
    a, b = probes.series.a, probes.series.b
    change = np.concatenate([a.nll[2] - a.nll[1], b.nll[2] - b.nll[1]])
    tokens = np.concatenate([a.tokens, b.tokens])
    left = change - change.sum() / tokens.sum() * tokens
    noise = 2 * np.sqrt(len(left) / (len(left) - 1) * (left**2).sum()) / tokens.sum()
    for excess, stops in ((0.9, False), (1.1, True)):  # in a run that trains the same
        stop = callbacks.EarlyStopping(patience=1, min_delta="auto")
        script = Script([1.1, 1.0, 1.0 + excess * noise], flat, "val/nll")
        fit(language_model(rate=0.05), ProbedData("text"), [callbacks.Probes(), script, stop], max_epochs=3)
        assert (stop.stopping_reason_message is not None) == stops


def test_an_error_is_what_is_missing_to_one(fit, classifier, data, flat, said) -> None:
    script = Script([0.8, 0.9, 0.895, 0.88], flat, "val/accuracy")
    fit(classifier(), data(), [script, callbacks.EarlyStopping(criterion=GL(10))], max_epochs=4)
    assert "step 24 by GL: 20 percent above the least error (limit 10)" in said()[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"patience": 3, "criterion": UP()}, r"patience \(3\) and a criterion \(UP\)"),
        ({"monitor": "val/pearson", "criterion": GL()}, r"by GL divides errors.*'val/pearson'.*Monitor val/nll"),
        (
            {"monitor": "val/macro_f1", "criterion": PQ()},
            r"criterion PQ needs the errors.*'val/macro_f1'.*val/accuracy",
        ),
        ({"patience": -2}, "patience is -2; .* at least 0"),
        ({"monitor": "val/macro_f1", "min_delta": "auto"}, r"min_delta auto needs the errors.*'val/macro_f1'"),
        (
            {"min_delta": "auto"},
            "min_delta auto needs the errors of single rows.*none stands before it",
        ),
        (
            {"criterion": PQ()},
            "criterion PQ needs the errors of single rows.*none stands before it",
        ),
    ],
    ids=["both", "no error", "no rows of f1", "negative", "auto of f1", "auto without probes", "pq without probes"],
)
def test_what_cannot_be_is_refused_before_the_first_step(options, reason, fit, classifier, data) -> None:
    steps = []
    watch = L.pytorch.callbacks.LambdaCallback(on_train_batch_start=lambda *args: steps.append(1))
    with pytest.raises(UserError, match=reason):
        fit(classifier(), data(), [watch, callbacks.EarlyStopping(**options)])
    assert not steps


def test_what_turns_out_to_be_missing_is_refused(fit, classifier, language_model, data, flat) -> None:
    with pytest.raises(UserError, match="criterion PQ needs .*: the data gives no training rows to look at"):
        fit(classifier(), data(), [callbacks.Probes(), callbacks.EarlyStopping(criterion=PQ())])
    with pytest.raises(UserError, match="min_delta auto needs .*none stands before it"):
        fit(classifier(), data(), [callbacks.EarlyStopping(min_delta="auto"), callbacks.Probes()])
    script = Script([-0.5], flat, "val/nll")
    with pytest.raises(UserError, match="GL divides errors, which must not be negative, and val/nll is -0.5"):
        fit(language_model(), data("text"), [script, callbacks.EarlyStopping(criterion=GL())])


def test_up_needs_no_error(fit, classifier, data, flat) -> None:
    script = Script([0.2, 0.9, 0.8, 0.7], flat, "val/pearson")
    stop = callbacks.EarlyStopping("val/pearson", criterion=UP(1, k=1))
    assert fit(classifier(), data(), [script, stop], max_epochs=4).current_epoch == 3


def test_what_it_watches_is_looked_for_before_training(fit, classifier, data) -> None:
    stop, own = callbacks.EarlyStopping(criterion=GL()), callbacks.EarlyStopping("val/mine", mode="max")
    own.setup = lambda *args: None
    trainer = fit(classifier(), data(), [stop], max_epochs=1)
    assert trainer.early_stopping_callbacks == [stop]
    assert all_watched(trainer, trainer.lightning_module) == ["val/accuracy"] * 2


def test_a_state_is_plain_and_another_criterion_may_go_on_from_it(fit, classifier, data, flat) -> None:
    stop = callbacks.EarlyStopping(patience=5)
    fit(classifier(), data(), [Script([0.5, 0.75, 0.25], flat, "val/accuracy"), stop], max_epochs=3)
    state = stop.state_dict()
    assert (state["steps"], state["values"]) == ([6, 12, 18], [0.5, 0.75, 0.25])
    other = callbacks.EarlyStopping(criterion=UP(2, k=1))
    other.load_state_dict(state)
    assert other.values == state["values"] and other.values is not state["values"]
    assert (other.best_score.item(), other.wait_count) == (0.75, 1)


def test_no_rank_goes_on_alone(fit, language_model, flat, tmp_path) -> None:
    def train() -> None:
        rank = int(os.environ["RANK"])
        script = Script([1.0, [0.9, 1e6][rank], 0.8], flat, "val/nll")  # only the second rank sees a rise
        stop = callbacks.EarlyStopping(patience=1, min_delta="auto")
        trainer = fit(
            language_model(), ProbedData("text"), [callbacks.Probes(), script, stop], max_epochs=3, **AS_RANKS
        )
        (tmp_path / f"rank-{rank}").write_text(f"{trainer.current_epoch} {stop.steps[-1] // 3}")

    in_two_ranks(train)
    assert [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)] == ["2 2"] * 2


RESUMED = {
    "patience": {"patience": 2, "min_delta": 1.0},
    "pq": {"criterion": PQ(1e-6, k=2), "min_delta": "auto"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_stops_where_it_would_have(name, tmp_path) -> None:
    stops = []

    def own():
        stops.append(callbacks.EarlyStopping("val/nll", **RESUMED[name]))
        return [stops[-1]]

    case = Case(tmp_path, {"val_check_interval": 6, "max_epochs": 3}, own=own, save_steps=2)
    straight = case.straight()
    assert stops[0].stopping_reason_message if name == "patience" else len(stops[0].values) > 3
    for folder, stop in (
        ("signal", Stop("on_validation_end", 2)),
        ("kill", Stop("on_train_batch_end", 16, kills=True)),
    ):
        compare(straight, case.stopped(folder, stop))
        assert stops[-1].state_dict() == stops[0].state_dict()


def test_training_rows_that_nobody_looks_at_are_refused_before_the_first_step(fit, classifier) -> None:
    watch = L.pytorch.callbacks.LambdaCallback(on_train_start=lambda *args: pytest.fail("it trains"))
    listed = [watch, callbacks.Probes(rows=0), callbacks.EarlyStopping(criterion=PQ())]
    with pytest.raises(UserError, match=r"by PQ needs the errors of training rows.*\(rows: 0\)"):
        fit(classifier(), ProbedData(), listed)
