"""Who answers for a run, and what becomes of its directory and of the exit code when it is stopped."""

import errno
import os
import signal
import sys
from types import SimpleNamespace

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from finelab.callbacks.baseline import Baseline
from finelab.contracts.interruption import Interrupted
from finelab.contracts.state_folder import CHECKPOINTS, latest_state, state_name
from finelab.models.objective import Objective
from finelab.models.sequence_classifier import SequenceClassifier
from finelab.scripts.cli import main
from finelab.scripts.fit_run import FitRun
from finelab.scripts.invocation import read_invocation

COUNTED_NOTHING = SimpleNamespace(global_step=0)
"""A trainer whose steps were taken elsewhere."""


@pytest.mark.parametrize(("step", "kept"), [(None, False), (0, False), (1, True), (4, True)])
def test_a_run_with_a_state_to_go_on_from_is_never_taken_away(step, kept, config, here, capsys):
    run = FitRun(read_invocation(["fit", "-c", str(config())]))
    directory = run._make({"run": {"root": "runs", "name": "one"}})
    if step is not None:
        (directory / CHECKPOINTS / state_name(step)).mkdir(parents=True)

    def stopped() -> None:
        raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        run.train(stopped, COUNTED_NOTHING)
    run.release()
    assert directory.exists() == kept
    assert ("finelab fit --resume" in capsys.readouterr().err) == kept
    assert not kept or latest_state(directory).name == state_name(step)


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@pytest.mark.parametrize(
    ("command", "strategy"),
    [("fit", "ddp_spawn_find_unused_parameters_true"), ("fit", "a class"), ("check", "ddp_fork")],
)
def test_ranks_that_nobody_can_answer_for(command, strategy, config, refused):
    words = ["--trainer.devices=2"]
    if strategy == "a class":
        words += ["--trainer.strategy=lightning.pytorch.strategies.DDPStrategy", "--trainer.strategy.start_method=fork"]
    else:
        words.append(f"--trainer.strategy={strategy}")
    paragraph = refused(command, "-c", config(), *words)
    for part in ("trainer.strategy: DDPStrategy with start_method", "Set trainer.strategy: ddp, or", "torchrun"):
        assert part in paragraph


def test_a_traceback_ends_with_how_to_go_on(config, here, monkeypatch):
    """As where another rank was killed, of which this one hears as a connection that is gone."""
    original = Objective.on_before_optimizer_step

    def fail(self, optimizer) -> None:
        if self.trainer.global_step == 1:
            raise RuntimeError("Connection closed by peer")
        original(self, optimizer)

    monkeypatch.setattr(Objective, "on_before_optimizer_step", fail)
    with pytest.raises(RuntimeError, match="closed by peer") as raised:
        main(["fit", "-c", str(config()), "--run.name", "one", "--no-check"])
    (note,) = raised.value.__notes__
    assert note.startswith("finelab: runs/one did not finish (recorded as 'failed: error'). Its newest training state")
    assert note.endswith("finelab fit --resume runs/one goes on from there.")


def test_a_disk_that_fails_before_the_first_state_leaves_nothing(config, here, monkeypatch, capsys):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    assert main(["fit", "-c", str(config()), "--run.name", "one", "--no-check"]) == 2
    said = capsys.readouterr().err
    assert "runs/one" in said and "could not be written" in said and "No space left on device" in said
    assert "nothing was kept" in said and "--resume" not in said and "Traceback" not in said
    assert not (here / "runs").exists()


def test_a_signal_before_the_first_state_says_that_nothing_is_kept(config, here, monkeypatch, capfd):
    original = Baseline.on_train_start

    def interrupted(self, trainer, pl_module) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        original(self, trainer, pl_module)

    monkeypatch.setattr(Baseline, "on_train_start", interrupted)
    assert main(["fit", "-c", str(config()), "--no-check"]) == 128 + signal.SIGTERM
    said = capfd.readouterr().err
    assert "SIGTERM: stopping at the next boundary" in said and "everything saved" not in said
    assert "finelab: The run was stopped before training began; nothing was kept." in said
    assert not (here / "runs").exists()


@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_signal_that_only_lightning_has_seen_is_no_success(command, config, here, monkeypatch):
    """As where Python has lost the exception that our handler raised: here the program has a handler of its own."""
    score, seen = SequenceClassifier.score, []

    def signalled(self, batch):
        if not seen:
            os.kill(os.getpid(), signal.SIGTERM)
        seen.append(batch)
        return score(self, batch)

    monkeypatch.setattr(SequenceClassifier, "score", signalled)
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert main([command, "-c", str(config()), "--data.batch_size=2"]) == 143
    finally:
        signal.signal(signal.SIGTERM, former)
    assert len(seen) == 1
