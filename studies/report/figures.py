"""All figures of a report."""

from dataclasses import dataclass

from ..analysis.analysis import Analysis
from .courses import courses
from .curves import curves
from .dots import dots
from .drawing import Drawing
from .forest import by_task, forest
from .matrices import matrices
from .pareto import pareto
from .tuning import tuning


@dataclass(frozen=True)
class Figures:
    """Those that the analysis has numbers for; None for the others."""

    forest: Drawing | None
    tasks: Drawing | None
    seeds: Drawing | None
    pareto: Drawing | None
    tuning: Drawing | None
    courses: Drawing | None
    curves: list[Drawing]
    matrices: list[Drawing]

    @classmethod
    def of(cls, analysis: Analysis) -> "Figures":
        return cls(forest(analysis), by_task(analysis), dots(analysis), pareto(analysis), tuning(analysis),
                   courses(analysis), curves(analysis), matrices(analysis))  # fmt: skip

    def all(self) -> list[Drawing]:
        single = (self.forest, self.tasks, self.seeds, self.pareto, self.tuning, self.courses)
        return [*(drawing for drawing in single if drawing is not None), *self.curves, *self.matrices]
