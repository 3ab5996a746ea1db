"""One process of a run that is to be killed: the command line's own ``main``, and a plan of its end."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import finelab.callbacks.state_io as state_io
import finelab.scripts.lightning_cli as command_line
from finelab.scripts.cli import main

FINAL = "final.pt"
PATIENCE = 120


@dataclass(frozen=True)
class Plan:
    """When a life ends: after some seconds, at a moment of training, or at a call of the file system in a save.

    Args:
        kind: clock, moment, save, or none: it is let live.
        at: seconds, or the number of the moment or call.
        workers_too: the loader's workers die with it, as in a container; else they notice by themselves.
    """

    kind: str = "none"
    at: float = 0
    workers_too: bool = True


class Moments(Callback):
    """What a run consumed, by way of the states it went on from; and an end at a given moment."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.moments = plan, 0
        self.ids: list[list[int]] = []
        self.losses: list[float] = []

    def _pass(self, *_: object) -> None:
        self.moments += 1
        if self.plan.kind == "moment" and self.moments == self.plan.at:
            die()

    on_train_batch_start = on_before_backward = on_after_backward = on_before_optimizer_step = _pass
    on_validation_start = on_validation_batch_start = on_validation_end = _pass

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pass()
        self.ids.append(batch["sample_id"].tolist())
        if trainer.global_step > len(self.losses):
            self.losses.append(trainer.callback_metrics["train/loss"].item())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the best weights are put back for the last evaluation."""
        trained = {name: p.detach().clone() for name, p in pl_module.named_parameters() if p.requires_grad}
        moments = trainer.optimizers[0].state_dict()["state"]
        left = {"weights": trained, "moments": moments, "ids": self.ids, "losses": self.losses}
        torch.save(left, Path(str(trainer.loggers[0].log_dir or trainer.default_root_dir)) / FINAL)

    def state_dict(self) -> dict[str, Any]:
        return {"ids": list(self.ids), "losses": list(self.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ids, self.losses = list(state_dict["ids"]), list(state_dict["losses"])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(plan: Plan) -> None:
    """Adds the moments to the callbacks of this process, and an end in a save."""
    whole = command_line.standard_callbacks

    def with_moments(run: Any, own: Sequence[Callback] = ()) -> list[Callback]:
        return whole(run, [Moments(plan), *own])

    command_line.standard_callbacks = with_moments
    if plan.kind != "save":
        return
    calls, saving = [0], [False]
    save = state_io.StateIO.save_checkpoint

    def watched(self: Any, *arguments: Any, **options: Any) -> None:
        saving[0] = True
        try:
            save(self, *arguments, **options)
        finally:
            saving[0] = False

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if saving[0] and (event == "open" or event.startswith(("os.", "shutil."))):
            calls[0] += 1
            if calls[0] == plan.at:
                die()

    state_io.StateIO.save_checkpoint = watched
    sys.addaudithook(count)


def life(words: list[str], plan: Plan, log: Path) -> int:
    """One process from its start to its end; -9 where it was killed."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 70
        try:
            arm(plan)
            code = main(words)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return ended(pid, plan)


def fresh_life(words: list[str], plan: Plan, log: Path) -> int:
    command = [sys.executable, __file__, "--words", json.dumps(words), "--plan", json.dumps(asdict(plan))]
    with log.open("a") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    return ended(child.pid, plan)


def ended(pid: int, plan: Plan) -> int:
    limit = time.monotonic() + (plan.at if plan.kind == "clock" else PATIENCE)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    if code == -9 and plan.workers_too:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=json.loads)
    parser.add_argument("--plan", type=json.loads)
    given = parser.parse_args()
    torch.set_num_threads(1)
    arm(Plan(**given.plan))
    sys.exit(main(given.words))
