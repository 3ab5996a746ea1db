import os
import time

import lightning as L
import pytest
import torch

from finelab import callbacks
from finelab.contracts.disk import DiskError
from finelab.contracts.errors import UserError
from finelab.models.classification_meter import ClassificationMeter


class Script(L.Callback):
    """Replaces a validation metric by a script, and remembers the weights at each validation."""

    def __init__(self, values, flat, name="val/accuracy") -> None:
        self.values, self.flat, self.name, self.weights = iter(values), flat, name, []

    def on_validation_end(self, trainer, pl_module) -> None:
        trainer.callback_metrics  # noqa: B018  (reading fills the table that the next line writes to)
        trainer._logger_connector._callback_metrics[self.name] = torch.tensor(next(self.values))
        trainer._results.clear()
        self.weights.append(self.flat(pl_module))


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "winner"),
    [([0.5, 0.9, 0.7], 1), ([0.9, 0.9, 0.1], 0), ([NAN, 0.2, NAN], 1), ([float("inf"), 0.2, 0.3], 2), ([NAN] * 3, 2)],
)
def test_the_best_weights_are_kept_and_loaded(values, winner, fit, classifier, data, flat, tmp_path) -> None:
    best, script, module = callbacks.BestCheckpoint(tmp_path), Script(values, flat), classifier()
    fit(module, data(), [script, best], max_epochs=3)
    assert torch.equal(flat(module), script.weights[winner])
    assert best.step == 6 * (winner + 1)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best", "last"]
    again = classifier()
    again.load_folder(tmp_path / "checkpoints" / "last")
    assert torch.equal(flat(again), script.weights[-1])
    again.load_folder(tmp_path / "checkpoints" / "best")
    assert torch.equal(flat(again), script.weights[winner])


def test_less_is_better_for_a_loss(fit, language_model, data, tmp_path, flat) -> None:
    best = callbacks.BestCheckpoint(tmp_path)
    script = Script([3.0, 1.0, 2.0], flat, "val/nll")
    fit(language_model(), data("text"), [script, best], max_epochs=3)
    assert (best.monitor, best.mode, best.value) == ("val/nll", "min", 1.0)


def test_without_validation_the_last_weights_are_the_best(fit, classifier, data, flat, tmp_path) -> None:
    source, module, best = data(), classifier(), callbacks.BestCheckpoint(tmp_path)
    source.splits = ("train",)
    fit(module, source, [best])
    again = classifier()
    again.load_folder(tmp_path / "checkpoints" / "best")
    assert torch.equal(flat(again), flat(module))
    assert best.value is None


def test_an_unknown_monitor_is_named_with_the_known_ones(fit, classifier, data, tmp_path) -> None:
    for callback in (callbacks.BestCheckpoint(tmp_path, "val/acc"), callbacks.EarlyStopping("val/acc")):
        with pytest.raises(UserError, match=r"'val/acc'.*val/accuracy"):
            fit(classifier(), data(), [callback])
    # A metric that exists, but not in this run.
    for callback in (callbacks.BestCheckpoint(tmp_path, "val/perplexity"), callbacks.EarlyStopping("val/perplexity")):
        with pytest.raises(UserError, match=r"'val/perplexity'.*does not log.*val/accuracy"):
            fit(classifier(), data(), [callback], max_epochs=1)


def test_the_direction_belongs_to_the_metric(fit, classifier, data, flat, tmp_path) -> None:
    best, own, follows = (
        callbacks.BestCheckpoint(tmp_path, "val/macro_f1"),
        *(callbacks.EarlyStopping(monitor, patience=2) for monitor in ("val/macro_f1", None)),
    )
    script = Script([0.2, 0.9, 0.4, 0.3, 0.1], flat, "val/macro_f1")
    trainer = fit(classifier(), data(), [script, best, own, follows], max_epochs=5)
    assert (best.mode, best.value, best.step) == ("max", pytest.approx(0.9), 12)
    for stop in (own, follows):
        assert (stop.monitor, stop.mode, stop.best_score.item()) == ("val/macro_f1", "max", pytest.approx(0.9))
    assert trainer.current_epoch == 4
    mine = callbacks.EarlyStopping("val/mine", mode="max")
    fit(classifier(), data(), [Script([0.1, 0.2], flat, "val/mine"), mine])
    assert mine.best_score.item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"max_steps": 9}, 9), ({"max_epochs": 3, "check_val_every_n_epoch": 2}, 18), ({"max_steps": 4}, 4)],
)
def test_weights_after_the_last_validation_compete(options, steps, fit, classifier, data, tmp_path) -> None:
    best, module = callbacks.BestCheckpoint(tmp_path, "val/nll"), classifier()
    trainer = fit(module, data(), [best], **options)
    assert trainer.global_step == steps
    assert (best.validated_step, best.step) == (steps, steps), "the NLL falls with every step"
    again = classifier()
    again.load_folder(tmp_path / "checkpoints" / "best")
    last = classifier()
    last.load_folder(tmp_path / "checkpoints" / "last")
    for found in (again, last):
        for (name, p), q in zip(found.named_parameters(), module.parameters(), strict=True):
            assert torch.equal(p, q), name


def test_weights_after_the_last_validation_may_lose(fit, classifier, data, flat, tmp_path) -> None:
    best, module = callbacks.BestCheckpoint(tmp_path), classifier()
    script = Script([2.0], flat)
    fit(module, data(), [script, best], max_steps=9)
    assert (best.value, best.step, best.validated_step) == (2.0, 6, 9)
    assert torch.equal(flat(module), script.weights[0])


def test_the_clock_stands_still_while_weights_are_saved(fit, classifier, data, tmp_path) -> None:
    module, clocks, throughput = classifier(), [], callbacks.Throughput()
    save = module.save_folder

    def slow(folder):
        clocks.append(throughput.clock.seconds)
        save(folder)
        time.sleep(0.02)
        clocks.append(throughput.clock.seconds)

    module.save_folder = slow
    fit(module, data(), [throughput, callbacks.BestCheckpoint(tmp_path, "val/nll")], val_check_interval=3)
    assert len(clocks) >= 6
    assert clocks[::2] == clocks[1::2]
    assert throughput.clock.seconds > clocks[0] > 0


def test_a_crash_while_saving_keeps_the_checkpoint_before(fit, classifier, data, flat, tmp_path) -> None:
    module, script = classifier(), Script([0.1, 0.2, 0.3], flat)
    save, calls = module.save_folder, []

    def save_half(folder):
        calls.append(folder)
        save(folder)
        if len(calls) == 2:
            next(folder.glob("*.safetensors")).write_bytes(b"half")
            raise OSError(28, "disk full")

    module.save_folder = save_half
    with pytest.raises(DiskError, match="checkpoints/best could not be written: disk full.*It needs [0-9,]+ bytes"):
        fit(module, data(), [script, callbacks.BestCheckpoint(tmp_path)], max_epochs=3)
    again = classifier()
    again.load_folder(tmp_path / "checkpoints" / "best")
    assert torch.equal(flat(again), script.weights[0])
    assert os.listdir(tmp_path / "checkpoints") == ["best"]


class Gaps(ClassificationMeter):
    """Has no value of a metric where its script says so."""

    def __init__(self, values) -> None:
        super().__init__(["low", "high"])
        self.pearson = next(values, None)

    def readings(self):
        return super().readings() | {"pearson": "says the script" if self.pearson is None else self.pearson}


@pytest.mark.parametrize(
    ("values", "winner"), [([0.9, None, 0.5], 1), ([None, 0.2, 0.1], 2), ([None, None, 0.1], 3), ([None] * 3, 3)]
)
def test_an_undefined_metric_never_wins_nor_takes_an_earlier_value(values, winner, fit, classifier, data, tmp_path):
    module, history = classifier(), callbacks.History()
    script = iter(values)
    module.meter = lambda: Gaps(script)
    best = callbacks.BestCheckpoint(tmp_path, "val/pearson")
    stop = callbacks.EarlyStopping("val/pearson", patience=5)
    fit(module, data(), [history, best, stop], max_epochs=3)
    assert [entry.get("pearson") for entry in history.entries] == [
        value if value is None else pytest.approx(value) for value in values
    ]
    assert best.step == 6 * winner
    assert best.value == (None if values == [None] * 3 else pytest.approx(values[winner - 1]))


def test_an_undefined_metric_of_the_last_weights_never_wins(fit, classifier, data, tmp_path) -> None:
    module, script = classifier(), iter([0.4, None])
    module.meter = lambda: Gaps(script)
    best = callbacks.BestCheckpoint(tmp_path, "val/pearson")
    fit(module, data(), [best], max_steps=9)
    assert (best.value, best.step, best.validated_step) == (pytest.approx(0.4), 6, 9)
