"""The protocol of a check: it looks at what is known before the first step, and says what it found.

A file of this package with a subclass of ``Check`` is a check; it runs in ``finelab check`` and at the start of fit.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning.pytorch import Trainer

from ...contracts.data import AuditedSource, RehearsalBatches
from ...contracts.finding import Finding
from ...models.finetuner import FineTuner
from .trial import Trial

Section = Literal["configuration", "data", "tokens", "model", "cost"]
SECTIONS: tuple[Section, ...] = ("configuration", "data", "tokens", "model", "cost")


@dataclass(frozen=True)
class Subject:
    """What a check may look at; nothing of it may be changed.

    Args:
        trainer: in ``on_train_start``: loaders, optimizers and the number of steps are there.
        module: what trains.
        data: the data module.
        config: the resolved configuration; empty where there is none.
        folder: where the run writes; it need not exist.
        batches: split -> its longest rows and a sample; empty where the data module cannot name them.
        trial: what the first steps did; None where they were not made.
    """

    trainer: Trainer
    module: FineTuner
    data: object
    config: Mapping[str, Any]
    folder: Path
    batches: Mapping[str, RehearsalBatches] = field(default_factory=dict)
    trial: Trial | None = None

    @property
    def report(self) -> Mapping[str, Mapping[str, Any]]:
        """Part -> the audit of its rows (``finelab.data.audit``); one part named "" but for mixtures."""
        found = self.data.report if isinstance(self.data, AuditedSource) else {}
        return found.get("parts", {"": found} if "splits" in found else {})

    def audits(self, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What to call the split of each part, and what was counted in it."""
        for part, report in self.report.items():
            if split in report["splits"]:
                yield f"{split} of {part}" if part else split, report["splits"][split]


class Check(ABC):
    """One thing to look at.

    Attributes:
        section: where it is shown.
        needs_trial: whether it reads ``Subject.trial``; left out where the first steps were not made.
    """

    section: ClassVar[Section]
    needs_trial: ClassVar[bool] = False

    @abstractmethod
    def look(self, subject: Subject) -> Iterable[Finding]:
        """What was found; nothing where this does not apply."""


def all_checks() -> list[Check]:
    """Those of this package, by section and name."""
    for file in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{file.name}")
    checks = [kind() for kind in Check.__subclasses__() if kind.__module__.startswith(f"{__package__}.")]
    return sorted(checks, key=lambda check: (SECTIONS.index(check.section), type(check).__name__))
