"""What the evaluations of one run found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .evaluation import Evaluation, Score
from .example_files import write_examples


@dataclass
class Results:
    """Filled by ``Baseline`` and ``FinalEvaluation``, read by ``RunRecord``, ``Card`` and ``TensorBoard``.

    Args:
        directory: the run's; None writes no per-example files.
        references: name -> predictions to compare with, made by the untouched base; the last one is the strongest.
        before: split, or ``SPLIT/NAME`` of one of its sets -> reference -> metrics.
        after: likewise -> metrics of the tuned model.
        rows: likewise -> rows.
        missing: likewise -> metrics of the tuned model that are not defined there -> why.
        tables: likewise -> tables of the tuned model.
        examples: ``validation-before`` and the like -> file, relative to ``directory``.
        notes: what a reader has to know.
        test_read: whether the test split was read.
    """

    directory: Path | None = None
    references: dict[str, Score] = field(default_factory=dict)
    before: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    after: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    test_read: bool = False

    def note(self, *notes: str) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def add_before(self, split: str, reference: str, evaluation: Evaluation) -> None:
        self.before.setdefault(split, {})[reference] = evaluation.metrics
        self.rows[split] = evaluation.rows
        self.note(*evaluation.notes)
        if reference == list(self.references)[-1]:
            self._write_examples(f"{split}-before", evaluation)

    def add_after(self, split: str, evaluation: Evaluation) -> None:
        self.after[split] = evaluation.metrics
        self.missing[split], self.tables[split] = evaluation.missing, evaluation.tables
        self.rows[split] = evaluation.rows
        self.note(*evaluation.notes)
        self._write_examples(f"{split}-after", evaluation)

    def state(self) -> dict[str, Any]:
        """What was found before training; everything later is found again."""
        return {"before": self.before, "rows": self.rows, "examples": self.examples, "notes": self.notes}

    def restore(self, state: dict[str, Any]) -> None:
        self.before, self.rows = dict(state["before"]), dict(state["rows"])
        self.examples, self.notes = dict(state["examples"]), list(state["notes"])

    def _write_examples(self, name: str, evaluation: Evaluation) -> None:
        if self.directory is None or not evaluation.examples:
            return
        relative = Path("predictions") / f"{name}.parquet"
        write_examples(evaluation.examples, self.directory / relative)
        self.examples[name] = str(relative)
