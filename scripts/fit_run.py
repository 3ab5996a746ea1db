"""The directory of a fit, from its making to the exit code: made or gone on in, locked, and taken away if in vain."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from ..contracts.config_diff import DATA, changes, keys_of, require_known
from ..contracts.errors import RunFailed, UserError
from ..contracts.record import Record, read_record
from ..contracts.run import Run, create_run
from ..contracts.run_config import RunConfig
from ..contracts.run_lock import RunLock
from ..contracts.seeds import Seeds
from ..contracts.state_folder import latest_state, read_manifest, step_of
from .invocation import Invocation
from .resume import how_to_go_on
from .run_directory import RUN_DIRECTORY, is_first_rank, shared_directory

TOLD = ("failed: nonfinite", "failed: memory", "failed: disk", "failed: data")
"""Ends that one paragraph explains; any other is a mistake in somebody's code and keeps its traceback."""
IN_A_STEP = ("failed: nonfinite", "failed: memory")
"""Of these the first step may be the one that fails; a run that ends otherwise before it leaves nothing."""
NOTHING_KEPT = "The run was stopped before training began; nothing was kept."


def require_answerable(trainer: Trainer) -> None:
    """Raises:
    UserError: the ranks would be forked or spawned, by a process that trains nothing itself and cannot tell what they
        did: how many steps, which signal, which fault.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        raise UserError(
            f"trainer.strategy: {type(trainer.strategy).__name__} with start_method {launcher._start_method!r} "
            "(ddp_fork, ddp_spawn, ddp_notebook) trains in processes that cannot tell the one that started them how "
            "they ended, so that nobody could answer for the run. Set trainer.strategy: ddp, or start the ranks with "
            "torchrun."
        )


class FitRun:
    """What one process knows of the run that it trains.

    Args:
        invocation: the command line.
    """

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.directory: Path | None = None
        """Where this process answers for it: it is the first rank, or starts all of them."""
        self.first_step = 0 if invocation.state is None else int(read_manifest(invocation.state)["step"])
        self._made = self._made_root = False
        self._lock: RunLock | None = None
        self._record: Record | None = None

    # ---- before training

    def start(self, config: dict[str, Any]) -> Run:
        """Everything but the trainer is built by now, so that a wrong configuration leaves no directory.

        Args:
            config: the resolved configuration.

        Raises:
            UserError: it differs from that of the training state that the run goes on from.
        """
        state, resumed = self.invocation.state, self.invocation.resumed
        changed = () if state is None else self._allowed_changes(state, config)
        directory = self._make(config) if resumed is None else resumed
        if resumed is not None and is_first_rank():
            self.directory, self._record = resumed, self._read_record(resumed)
        if self.directory is not None:
            os.environ[RUN_DIRECTORY] = str(directory.absolute())
        return Run(
            directory=directory,
            config=config,
            command=self.invocation.written if resumed is None else RunConfig.read(resumed).command,
            evaluate_test=config["evaluate_test"],
            seeds=Seeds.of(config["seeds"]),
            resumed_from=state,
            rehearse=self.invocation.check,
            resume_command=() if resumed is None else self.invocation.written,
            changed=changed,
            allowed=self.invocation.allowed,
        )

    def _make(self, config: dict[str, Any]) -> Path:
        place = config["run"]
        directory = shared_directory(place["root"], place["name"])
        if directory is not None:
            return directory
        self._made_root = not Path(place["root"]).expanduser().exists()
        directory = self.directory = create_run(place["root"], place["name"], self.invocation.stem)
        self._made = True
        self._lock = RunLock(directory)
        self._lock.acquire()
        RunConfig.of_new_run(self.invocation.written, config).write(directory)
        return directory

    def _allowed_changes(self, state: Path, config: dict[str, Any]) -> tuple[str, ...]:
        if config["trainer"].get("fast_dev_run"):
            raise UserError(
                "trainer.fast_dev_run makes a trial run, of which nothing is kept, and a trial cannot go on from a "
                f"training state ({state}); try the configuration without it."
            )
        stored, resumed = read_manifest(state), self.invocation.resumed
        if missing := [key for key in ("config", "events") if not isinstance(stored.get(key), dict)]:
            raise UserError(
                f"{state} does not say what its run was (its manifest lacks {' and '.join(missing)}), so that it was "
                "not written by finelab fit; go on from a training state of a run."
            )
        require_known(self.invocation.allowed, [DATA, *keys_of(stored["config"]), *keys_of(config)])
        found = [change for change in changes(stored["config"], config) if change.changes_numbers]
        allowed = [*self.invocation.allowed]
        if resumed is not None:  # a change that was allowed before the run was killed, and before its next state
            allowed += RunConfig.read(resumed).allowed_since(self.first_step)
        refused = [change for change in found if not change.is_allowed(allowed)]
        if refused:
            flags = " ".join(f"--allow-change {change.key}" for change in refused)
            raise UserError(
                f"The configuration is not the one that {state} was trained with, and a run that goes on as if it had "
                f"never stopped has one configuration. Changed:\n"
                + "".join(f"    {change}\n" for change in refused)
                + f"Leave these out, or go on with another configuration by {flags}."
            )
        return tuple(map(str, found))

    # ---- the end

    def train(self, fit: Callable[[], None], trainer: Trainer) -> None:
        """Run the training and answer for how it ended.

        Raises:
            UserError: it was refused before its first step; a run made for it is gone again.
            RunFailed: it failed later, or left no valid record that says finished.
        """
        try:
            fit()
        except (UserError, MisconfigurationException) as error:
            if not self._trained(trainer):
                self.remove()
                raise UserError(str(error)) from error
            raise RunFailed(self._failure(str(error))) from error
        except (SystemExit, KeyboardInterrupt):
            self._stopped(trainer)
            raise
        except Exception as error:
            record = self._new_record()
            if record is None or record.error is None or record.status not in TOLD:
                if self.directory is not None:
                    error.add_note(f"finelab:{self._failure('')}")
                raise
            if self._made and not self._trained(trainer):
                self.remove()
                raise UserError(f"{record.error['message']} {NOTHING_KEPT}") from error
            raise RunFailed(self._failure(record.error["message"])) from error
        self._finish(trainer)

    def _stopped(self, trainer: Trainer) -> None:
        """By a signal: nothing is kept of a run that had not begun, and of another it is said how it goes on."""
        if self._made and not self._trained(trainer):
            self.remove()
            print(f"finelab: {NOTHING_KEPT}", file=sys.stderr)
        elif self.directory is not None and latest_state(self.directory) is not None:
            print(
                f"finelab: stopped; {how_to_go_on(self.directory, self.invocation.trusted)} goes on.", file=sys.stderr
            )

    def _failure(self, reason: str) -> str:
        """The paragraph about a run that failed, with what is left of it."""
        if self.directory is None:
            return reason
        record, state = self._new_record(), latest_state(self.directory)
        status = "" if record is None else f" (recorded as {record.status!r})"
        go_on = how_to_go_on(self.directory, self.invocation.trusted)
        left = "" if state is None else f" Its newest training state is {state.name}: {go_on} goes on from there."
        return f"{reason} {self.directory} did not finish{status}.{left}"

    def _finish(self, trainer: Trainer) -> None:
        """Success is a record that was read again; nothing is kept of a trial run, nor of one that took no step, unless
        it began with a state: of one from the end of training only the evaluation is still due.

        Raises:
            UserError: no step was taken.
            RunFailed: there is no valid record, or it does not say finished.
        """
        if trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            self.remove()
            return
        if self.invocation.state is None and not self._trained(trainer):
            self.remove()
            raise UserError(
                f"No step was taken, so nothing was kept: trainer.max_epochs is {trainer.max_epochs}, "
                f"trainer.max_steps {trainer.max_steps}, trainer.limit_train_batches {trainer.limit_train_batches}, "
                f"and an epoch has {trainer.num_training_batches} batches. "
                "Give a run at least one step, or evaluate an earlier one with finelab test --run RUN."
            )
        if self.directory is not None:
            self._require_finished(self.directory)

    def _require_finished(self, directory: Path) -> None:
        try:
            status = read_record(directory).status
        except UserError as error:
            raise RunFailed(str(error)) from error
        if status != "finished":
            raise RunFailed(self._failure(f"Training ended, but the record says {status!r}."))

    def _trained(self, trainer: Trainer) -> bool:
        """By whatever says so: a run that has a state to go on from is never taken away."""
        record = self._new_record()
        if record is not None and record.status in IN_A_STEP:
            return True
        state = None if self.directory is None else latest_state(self.directory)
        return trainer.global_step > self.first_step or (state is not None and step_of(state) > self.first_step)

    def _new_record(self) -> Record | None:
        """What this session has written; None where there is nothing valid."""
        record = None if self.directory is None else self._read_record(self.directory)
        return None if record == self._record else record

    @staticmethod
    def _read_record(directory: Path) -> Record | None:
        try:
            return read_record(directory)
        except UserError:
            return None

    def remove(self) -> None:
        """Take away the directory of a run that ended before its first step, and its parent if the run made that."""
        if self.directory is None or not self._made:
            return
        shutil.rmtree(self.directory)
        self.release()
        if self._made_root:
            with suppress(OSError):  # it holds other runs by now
                self.directory.parent.rmdir()

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
