"""Runs side by side: all that a terminal, a page and a file show of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...contracts.record import Record
from .compared_run import ComparedRun
from .paired_rows import PairedRows, paired_differences
from .pairing import Pairing, meaning, pairing, pairing_sheet
from .sheet import Sheet
from .sheets import differing, same_rows, scores, settings, split_to_show, verdict_and_cost


@dataclass(frozen=True)
class Comparison:
    """The first run against each of the others.

    Args:
        runs: in the order of the command line.
        split: whose metrics are shown; None where nobody has any.
        pairings: letter of a run -> how alike the conditions were.
        rows: letter of a run -> differences on the same rows, and why there is none.
        said: what it can and cannot mean.
    """

    runs: Sequence[ComparedRun]
    split: str | None
    pairings: dict[str, Pairing]
    rows: dict[str, PairedRows]
    said: list[str]

    @classmethod
    def of(cls, runs: Sequence[ComparedRun]) -> "Comparison":
        """Raises:
        UserError: a per-example file is damaged.
        """
        first, others, split = runs[0], runs[1:], split_to_show(runs)
        pairings = {other.letter: pairing(first, other) for other in others}
        rows = {other.letter: paired_differences(other, first, split) for other in others} if split else {}
        return cls(runs, split, pairings, rows, meaning(runs, pairings, rows))

    def sheets(self) -> list[Sheet]:
        """Those that have something to say."""
        found = [scores(self.runs, self.split, self._comparable())] if self.split else []
        found += [verdict_and_cost(self.runs), settings(self.runs), pairing_sheet(self.runs, self.pairings)]
        if self.split:
            found.append(same_rows(self.runs, self.rows))
        return [sheet for sheet in found if sheet.rows or sheet.notes]

    def _comparable(self) -> list[str]:
        return [letter for letter, each in self.pairings.items() if each.is_comparable]

    def as_dict(self) -> dict[str, Any]:
        """JSON, with every value whole."""
        letters = [run.letter for run in self.runs]
        keys = {key: dict(zip(letters, cells, strict=True)) for key, cells in differing(self.runs)[0].items()}
        return {
            "runs": {run.letter: described(run) for run in self.runs},
            "split": self.split,
            "settings_that_differ": keys,
            "conditions": {letter: asdict(each) for letter, each in self.pairings.items()},
            "same_rows": {
                letter: [asdict(pair) for pair in each.differences] or "; ".join(each.notes)
                for letter, each in self.rows.items()
            },
            "same_rows_notes": {letter: each.notes for letter, each in self.rows.items()},
            "said": self.said,
        }


def described(run: ComparedRun) -> dict[str, Any]:
    own = {"directory": str(run.directory), "status": run.state, "base_digest": run.base_digest}
    return own | (of_record(run.record) if run.record is not None else {})


def of_record(record: Record) -> dict[str, Any]:
    kept = ("started", "seeds", "base", "parameters", "adapter", "regularizers", "metrics", "best", "cost", "verdict")
    content = asdict(record)
    own = {name: content[name] for name in (*kept, "findings", "order_digest", "notes", "error")}
    for result in own["metrics"].values():
        del result["tables"]
    return own | {"fingerprint": record.data.get("fingerprint")}
