"""A run that was stopped, at any moment, any number of times, and went on elsewhere is the run that was not stopped.

Compared exactly: loss, weights, optimizer, schedule, rows and global random numbers of every step, every validation,
the record but its times, every point of TensorBoard, and the bytes of the checkpoints and predictions.
"""

import logging
from types import SimpleNamespace

import lightning as L
import pytest

from finelab.callbacks.random_states import random_states
from finelab.callbacks.state_io import StateIO
from finelab.callbacks.training_state import TrainingState
from finelab.contracts.state_folder import latest_state

from .stopped_runs import Case, Killed, Outcome, Stop, compare, differ

BATCHES = 13  # of an epoch: four windows of three, and one of one
MOMENTS = {
    "in the first window": [Stop("on_train_batch_end", 1)],
    "killed after the first step": [Stop("on_train_batch_end", 4, kills=True)],
    "killed before the first step": [Stop("on_train_batch_start", 2, kills=True)],
    "in a window": [Stop("on_train_batch_end", 7)],
    "killed in a window": [Stop("on_train_batch_end", 8, kills=True)],
    "before a validation": [Stop("on_validation_start", 1)],
    "in a validation": [Stop("on_validation_batch_start", 1)],
    "in the last batch of a validation": [Stop("on_validation_batch_start", 2)],
    "killed in a validation": [Stop("on_validation_batch_start", 3, kills=True)],
    "after a validation": [Stop("on_validation_end", 1)],
    "killed after a validation": [Stop("on_validation_end", 2, kills=True)],
    "at the end of an epoch": [Stop("on_train_epoch_end", 1)],
    "killed at the end of an epoch": [Stop("on_train_epoch_end", 1, kills=True)],
    "at the start of an epoch": [Stop("on_train_batch_start", BATCHES + 1)],
    "after the last step": [Stop("on_train_batch_end", 2 * BATCHES)],
    "killed after the last step": [Stop("on_train_epoch_end", 2, kills=True)],
    "killed in the last evaluation": [Stop("score", 3, kills=True)],
    "three times in an epoch": [
        Stop("on_train_batch_end", 2),
        Stop("on_train_batch_end", 1),
        Stop("on_train_batch_end", 5, kills=True),
    ],
    "at everything": [
        Stop("on_train_batch_end", 4),
        Stop("on_validation_batch_start", 1),
        Stop("on_train_batch_end", 1),
        Stop("on_train_batch_end", 5, kills=True),
        Stop("on_validation_start", 1),
        Stop("score", 1, kills=True),
        Stop("score", 4, kills=True),
    ],
}
RUNS = {
    "int": ({"val_check_interval": 6}, {}),
    "float": ({"val_check_interval": 0.5}, {}),
    "in windows": ({"val_check_interval": 4}, {}),
    "epoch ends": ({}, {"evaluate_test": True}),
    "every second epoch": ({"check_val_every_n_epoch": 2, "max_epochs": 4}, {}),
    "across epochs": ({"check_val_every_n_epoch": None, "val_check_interval": 9}, {}),
    "max_steps": ({"max_steps": 9, "max_epochs": -1, "val_check_interval": 6}, {}),
    "limited": ({"limit_train_batches": 8, "max_epochs": 4}, {}),
    "stream": ({"max_steps": 9, "max_epochs": -1, "val_check_interval": 6}, {"data": "stream"}),
    "mixture": ({"val_check_interval": 6, "limit_train_batches": 13}, {"data": "mixture", "evaluate_test": True}),
    "workers": ({"val_check_interval": 6}, {"workers": 2}),
}


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR, "lightning.pytorch.utilities.rank_zero")


def fresh(stops: list[Stop]) -> list[Stop]:
    return [Stop(stop.hook, stop.count, stop.kills) for stop in stops]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> tuple[Case, Outcome]:
    """A run with validations inside and at the end of an accumulation window, and the same without a stop."""
    case = Case(tmp_path_factory.mktemp("runs"), {"val_check_interval": 4}, evaluate_test=True, save_steps=2)
    return case, case.straight()


@pytest.mark.parametrize(
    "moment",
    ["killed before the first step", "in a window", "in a validation", "at the end of an epoch", "at everything"],
)
def test_a_stopped_run_is_the_run_without_a_stop(moment, reference) -> None:
    case, expected = reference
    found = case.stopped(moment.replace(" ", "-"), *fresh(MOMENTS[moment]))
    compare(expected, found)


def test_another_run_may_start_from_a_state(reference) -> None:
    case, expected = reference
    L.seed_everything(7, verbose=False)
    with pytest.raises(Killed):
        case.session("left", Stop("on_train_batch_end", 14, kills=True))
    state = latest_state(case.folder / "left")
    assert state is not None and state.name == "state-00000004"
    watch, _ = case.session("branched", state=state)
    found = Outcome.of(case.folder / "branched", [watch])
    differ({step: seen for step, seen in expected.steps.items() if step > 4}, found.steps, "steps")
    differ(expected.files, found.files, "files")
    differ(expected.predictions["test-after.parquet"], found.predictions["test-after.parquet"], "predictions")
    assert found.record["history"] == expected.record["history"]
    assert found.record["order_digest"] == expected.record["order_digest"]
    assert found.texts["config/text_summary"] == 1, "a directory of its own has texts of its own"
    assert latest_state(case.folder / "left") == state, "what another run may still need"


class Clock(L.Callback):
    """Time passes only in optimizer steps and in saves."""

    def __init__(self, step: float, save: float, patch: pytest.MonkeyPatch) -> None:
        self.now, self.step, self.states = 0.0, step, []
        former = StateIO.save_checkpoint

        def slow(io, checkpoint, path, storage_options=None) -> None:
            former(io, checkpoint, path)
            self.states.append(checkpoint["global_step"])
            self.now += save

        patch.setattr(StateIO, "save_checkpoint", slow)
        patch.setattr("finelab.callbacks.training_state.time", SimpleNamespace(monotonic=lambda: self.now))

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.now += self.step / 3  # an accumulation window has three batches, that at the end of an epoch one


@pytest.mark.parametrize(
    ("save", "save_steps", "expected"),
    [(0.9, None, [0, 2, 3, 4, 7, 8, 9, 10]), (2.0, None, [0, 3, 7, 10]), (2.0, 2, [0, 2, 4, 6, 8, 10])],
)
def test_what_costs_much_is_saved_less_often(save, save_steps, expected, tmp_path, monkeypatch) -> None:
    """After a validation not before 20 times the duration of the last save; the start, the end and steps always."""
    clock = Clock(15.0, save, monkeypatch)
    Case(tmp_path, {"val_check_interval": 4}, own=lambda: [clock], save_steps=save_steps).straight()
    assert clock.states == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_any_run_stopped_at_any_moment(name, tmp_path) -> None:
    trainer, more = RUNS[name]
    case = Case(tmp_path, trainer, save_steps=2, **more)
    expected = case.straight()
    done = 0
    for moment, stops in MOMENTS.items():
        try:
            found = case.stopped(moment.replace(" ", "-"), *fresh(stops))
        except AssertionError as error:
            if "called too rarely" not in str(error):
                raise AssertionError(f"{moment}: {error}") from error
            continue  # this run has no such moment
        try:
            compare(expected, found)
        except AssertionError as error:
            raise AssertionError(f"{moment}: {error}") from error
        done += 1
    assert done >= 14


def test_generators_of_other_processes_are_not_passed_over_in_silence(tmp_path) -> None:
    state, trainer = TrainingState(tmp_path), L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    state.load_state_dict({"rng": [random_states()] * 2, "should_stop": False, "metrics": {}})
    state._stepped = 0
    with pytest.warns(UserWarning, match="generators of 2 processes and there are 1"):
        state._restore(trainer)
