"""Stops a study whose primary metric no finished cell has, before everything is trained for nothing."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from ...contracts.record import Record
from ...studies.scores import MissingScore, score
from ...studies.stages import Due
from ...studies.study import Study

WhatIsDue = Callable[[Mapping[str, Record], Collection[str]], Due]


class MetricGuard:
    """Says what is due, and that nothing is once reported cells are finished and none has the primary metric.

    Args:
        study: whose metric it is.
        then: says what is due otherwise.
    """

    def __init__(self, study: Study, then: WhatIsDue) -> None:
        self.study, self.then = study, then
        self.refused = ""
        """Why nothing more is started, one paragraph; empty where the metric is there, or nothing is finished."""

    def due(self, finished: Mapping[str, Record], failed: Collection[str]) -> Due:
        """As a controller asks it."""
        found = self.then(finished, failed)
        reported = [finished[cell.id] for cell in found.planned if cell.stage == "report" and cell.id in finished]
        self.refused = self._why_not(reported)
        return replace(found, cells=(), complete=False) if self.refused else found

    def _why_not(self, reported: Collection[Record]) -> str:
        key, why = self.study.metric.key, ""
        for record in reported:
            try:
                score(record, key)
            except MissingScore as error:
                why = why or f"{error}; it has {', '.join(names(record))}"
            else:
                return ""
        if not why:
            return ""
        return (
            f"{self.study.file} sets metric: {key}, which no finished cell has, so that no further cell is started: "
            f"{why}. Name one of these as metric: and give the same command again; what is finished is kept."
        )


def names(record: Record) -> list[str]:
    """Metrics of its splits, as a study file names them."""
    return [f"{split}/{name}" for split, found in sorted(record.metrics.items()) for name in sorted(found.after)]
