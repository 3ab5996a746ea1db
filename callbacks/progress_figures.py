"""What one wants to see of a run that is going on, on a terminal and in a log alike."""

import time

from lightning.pytorch import LightningModule, Trainer

from .best_checkpoint import watched
from .evaluation import callbacks_of
from .measure import verdict_of
from .planned_steps import total_steps
from .throughput import Throughput


class ProgressFigures:
    """Loss, gap, verdict, speed and time left, in a few words each.

    The speed is that of the trainer's ``Throughput``: supervised tokens per second of training time.
    """

    def __init__(self) -> None:
        self._start, self._first_step = time.monotonic(), 0

    def start(self, trainer: Trainer) -> None:
        """The time left is told from what this session has done."""
        self._start, self._first_step = time.monotonic(), trainer.global_step

    def words(self, trainer: Trainer, module: LightningModule) -> dict[str, str]:
        """What is known by now, in the order in which it is shown."""
        found = trainer.callback_metrics
        words = {}
        if "train/nll" in found:
            words["loss"] = f"loss {float(found['train/nll']):.3f}"
        if "gap/nll" in found:
            words["gap"] = f"gap {float(found['gap/nll']):+.3f}"
        name, _ = watched(trainer, module)
        if name in found:
            words["monitor"] = f"{name} {float(found[name]):.3f}"
        if (verdict := verdict_of(trainer)) is not None:
            words["verdict"] = verdict.label
        if (speed := self._speed(trainer, module)) is not None:
            words["speed"] = f"{speed:,.0f} tokens/s"
        if (left := self._left(trainer)) is not None:
            words["left"] = f"{clock(left)} left"
        return words

    def _speed(self, trainer: Trainer, module: LightningModule) -> float | None:
        throughput = next((each for each in callbacks_of(trainer) if isinstance(each, Throughput)), None)
        if throughput is None:
            return None
        return throughput.supervised_tokens_per_second(module)

    def _left(self, trainer: Trainer) -> float | None:
        done, total = trainer.global_step - self._first_step, total_steps(trainer)
        if not done or total is None:
            return None
        return (time.monotonic() - self._start) / done * (total - trainer.global_step)


def clock(seconds: float) -> str:
    """3:07, 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
