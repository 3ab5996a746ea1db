"""A signal at any moment of training: saved at the next boundary, recorded, and gone on with as if it had not come."""

import os
import signal
import sys
from pathlib import Path

import lightning as L
import pytest

from finelab.callbacks.baseline import Baseline
from finelab.callbacks.interruption import SIGNALS
from finelab.callbacks.state_io import StateIO
from finelab.contracts.interruption import Interrupted
from finelab.contracts.record import read_record
from finelab.contracts.state_folder import latest_state, verify

from .stopped_runs import Case, Outcome, compare

MOMENTS = {
    "in a window": ("on_train_batch_start", 5),
    "at a window's end": ("on_train_batch_end", 9),
    "in a validation": ("on_validation_batch_end", 1),
    "at a validation's end": ("on_validation_epoch_end", 1),
    "in a save": ("save", 2),
    "in the last save": ("save", 11),
    "in the last evaluation": ("on_train_end", 1),
}
FAST = {("in a window", "SIGTERM"), ("in a validation", "SIGUSR1"), ("in a save", "SIGINT")}


class Sender(L.Callback):
    """Sends this process a signal at the n-th call of a hook, or in the middle of the n-th save."""

    def __init__(self, moment: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hook, self.count = MOMENTS[moment]
        self.number, self.at = number, -1
        if self.hook == "save":
            fill = StateIO._fill
            monkeypatch.setattr(StateIO, "_fill", lambda *a: (self.called(), fill(*a))[1])
        else:
            setattr(self, self.hook, self.called)

    def on_train_start(self, trainer, pl_module) -> None:
        self.trainer = trainer

    def called(self, *_) -> None:
        self.count -= 1
        if self.count == 0:
            self.at = self.trainer.global_step
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("runs")
    return folder, Case(folder, save_steps=1).straight()


def listed():
    for moment in MOMENTS:
        for number in SIGNALS:
            slow = (moment, number.name) not in FAST
            yield pytest.param(moment, number, id=f"{number.name} {moment}", marks=[pytest.mark.slow] * slow)


@pytest.mark.parametrize(("moment", "number"), list(listed()))
def test_a_signal_costs_nothing(moment, number, place, monkeypatch, capfd):
    folder, straight = place
    case, name = Case(folder, save_steps=1), f"{number.name} {moment}".replace(" ", "-")
    run, before = folder / name, {each: signal.getsignal(each) for each in SIGNALS}
    L.seed_everything(7, verbose=False)
    sender = Sender(moment, number, monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as raised:
        patch.setattr(signal, "raise_signal", None)
        case.session(name, sender)
    assert raised.value.code == 128 + number
    assert f"finelab: {number.name}: stopping at the next boundary" in capfd.readouterr().err
    assert {each: signal.getsignal(each) for each in SIGNALS} == before
    record, state = read_record(run), latest_state(run)
    assert (record.status, record.error["message"]) == ("interrupted", f"stopped by {number.name}")
    assert state is not None and verify(state)["step"] == record.cost.steps
    assert record.cost.steps - sender.at <= 1
    watches = [case.watched, case.session(name)[0]]
    assert [entry["step"] for entry in read_record(run).resumed] == [record.cost.steps]
    compare(straight, Outcome.of(run, watches))


def test_before_training_nothing_listens_and_the_baseline_ends_at_its_next_batch(place, monkeypatch):
    folder, _ = place
    frozen_features, batches = Baseline._frozen_features, []

    class Early(L.Callback):
        def on_fit_start(self, trainer, pl_module) -> None:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def spied(self, loader, trainer, module, cap):
        targets = module.targets

        def counting(batch):
            batches.append(len(batch["sample_id"]))
            if len(batches) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return targets(batch)

        module.targets = counting
        return frozen_features(self, loader, trainer, module, cap)

    monkeypatch.setattr(Baseline, "_frozen_features", spied)
    with pytest.raises(Interrupted):
        Case(folder).session("early", Early())
    assert len(batches) == 3
    record = read_record(folder / "early")
    assert (record.status, record.cost.steps, latest_state(folder / "early")) == ("interrupted", 0, None)


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.parametrize("number", [*SIGNALS])
def test_a_second_signal_ends_at_once(number, place):
    """In a child of this process; it would otherwise train for a very long time."""
    folder, _ = place
    child = os.fork()
    if child == 0:
        twice = L.Callback()

        def send(*_):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), number)

        twice.on_train_batch_start = send
        try:
            Case(folder).session(f"twice-{number.name}", twice)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number
    assert not (folder / f"twice-{number.name}" / "record.json").exists()
