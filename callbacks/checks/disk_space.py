"""Whether the checkpoints will fit on the disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ...contracts.finding import Finding, ok
from ...contracts.state_folder import CHECKPOINTS
from .check import Check, Subject

COPIES = 4
"""Of the trainable weights: best, last, that of the training state, and the one that is being written."""
STATES = 2
"""The training state that is kept and the one that is being written."""
ADAM = 2
"""Copies of the trainable weights in an optimizer's state, where it was not measured."""
ROOM = 1 << 26
"""For TensorBoard, the data report and per-example files."""


class DiskSpace(Check):
    section = "cost"

    def look(self, subject: Subject) -> Iterable[Finding]:
        weights = sum(p.numel() * p.element_size() for p in subject.module.parameters() if p.requires_grad)
        trial = subject.trial
        optimizer = trial.optimizer_bytes if trial is not None and trial.step_seconds else ADAM * weights
        written = occupied(subject.folder / CHECKPOINTS)  # a resumed run replaces what it has
        needed = max(COPIES * weights + STATES * optimizer - written, 0) + ROOM
        there = next(folder for folder in [subject.folder, *subject.folder.absolute().parents] if folder.exists())
        free = shutil.disk_usage(there).free
        seen = f"checkpoints need about {size(needed)}, and {size(free)} are free under {folder_name(subject.folder)}"
        cure = "Free some space, or set run.root to a folder on another disk."
        if free < needed and subject.trainer.ckpt_path is None:
            yield Finding("disk", "error", seen, cure)
        elif free < 2 * needed:  # an estimate alone stops no run that has been training
            yield Finding("disk", "warning", seen, cure)
        else:
            yield ok("disk", seen)


def occupied(folder: Path) -> int:
    """Bytes of its files; those with several names count once."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


def folder_name(folder: Path) -> str:
    return f"{folder}/" if folder.parts else "the current folder"


def size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
