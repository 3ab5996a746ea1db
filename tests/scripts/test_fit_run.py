"""Who answers for a run, and what becomes of its directory when it is stopped."""

import signal
import sys
from types import SimpleNamespace

import pytest

from finelab.contracts.interruption import Interrupted
from finelab.contracts.state_folder import CHECKPOINTS, latest_state, state_name
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
