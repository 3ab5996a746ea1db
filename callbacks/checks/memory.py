"""The most memory that the first steps took."""

import os
from collections.abc import Iterable

import torch

from ...contracts.finding import Finding, ok
from .check import Check, Subject
from .disk_space import size

TIGHT = 0.9


class Memory(Check):
    section = "cost"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        trial = subject.trial
        assert trial is not None
        if trial.out_of_memory is not None:
            return
        whole = total_memory(subject.module.device)
        rows, width = trial.shape
        seen = (
            f"at most {size(trial.peak_memory_bytes)} of {size(whole)}, on the longest batch ({rows} x {width} tokens)"
        )
        if trial.peak_memory_bytes > TIGHT * whole:
            cure = f"Nothing else fits beside it: lower data.init_args.batch_size to {max(1, rows // 2)}."
            yield Finding("memory", "warning", seen, cure)
        else:
            yield ok("memory", seen)


def total_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
