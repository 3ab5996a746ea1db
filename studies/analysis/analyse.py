"""From a plan and finished cells to what may be said about them."""

from collections.abc import Collection, Sequence
from typing import Protocol

from ..arm import Arm
from ..resolution import Resolution
from ..results import CellResult
from ..study import Match, Study
from .analysis import Analysis, ArmRow, Unfinished
from .arms import arm_rows
from .caveats import caveats
from .conclusion import Correction
from .contrasts import contrasts_of
from .courses import courses
from .curves import curves
from .item_level import Rows
from .material import Material
from .matrices import matrices
from .noise_floor import noise_floor
from .power import power_words
from .provenance import command, provenance
from .samples import samples
from .scoring import scores_of
from .searches import budget, searches
from .tasks import task_summaries
from .verdict import verdict

MATCHED: dict[Match, str] = {
    "none": "nothing was made equal: every arm ran as it is configured",
    "steps": "every arm was to take the same number of optimizer steps",
    "tokens": "every arm was given the baseline's number of input tokens, by measured steps",
    "flops": "every arm was given the baseline's floating-point operations, by measured steps",
    "time": "every arm was given the baseline's training time, by measured steps",
}


class Planned(Protocol):
    """What an analysis needs of a plan."""

    @property
    def study(self) -> Study: ...

    @property
    def arms(self) -> Sequence[Arm]: ...

    @property
    def resolution(self) -> Resolution: ...


def analyse(
    plan: Planned,
    results: Sequence[CellResult],
    unfinished: Sequence[Unfinished] = (),
    codes: Collection[str] = (),
) -> Analysis:
    """All of it.

    Args:
        plan: the study as it is now.
        results: finished cells of this plan, of all stages; no others.
        unfinished: cells of the plan without a result, as the ledger knows them (``material.unfinished``).
        codes: digests of finelab's source that the cells ran with; empty where nobody knows.
    """
    study = plan.study
    material = Material(study, plan.arms, results, unfinished)
    scores, rows = scores_of(study, results), Rows()
    arms = arm_rows(material, scores)
    screened, correction = contrasts_of(material, "report", rows)
    confirmed, of_confirmed = contrasts_of(material, "confirm", rows)
    contrasts = screened + confirmed
    searched = searches(material)
    fresh = arm_rows(material, scores, "confirm") if confirmed else []
    tasks = task_summaries(material, "confirm" if confirmed else "report")
    noise = noise_floor(material, rows)
    drawn, transferred = curves(material), matrices(material)
    return Analysis(
        study=study.name,
        question=study.question,
        verdict=verdict(material, contrasts, tasks, noise, drawn, transferred),
        scores=scores,
        arms=arms,
        contrasts=contrasts,
        correction=correction_words(correction, of_confirmed, len(material.tasks)),
        match=match_words(study.match, arms),
        budget=budget(material),
        searches=searched,
        unfinished=list(unfinished),
        courses=courses(material),
        noise=noise,
        curves=drawn,
        matrices=transferred,
        tasks=tasks,
        samples=samples(material),
        caveats=caveats(material, arms, contrasts, searched, codes),
        power=power_words(study, screened),
        provenance=provenance(study, plan.resolution, results, codes),
        command=command(study),
        complete=not unfinished and all(row.done == row.planned for row in arms),
        margin=study.margin,
        data_sets=[str(task) for task in material.tasks] if len(material.tasks) > 1 else [],
        confirms=study.confirm is not None,
        confirmed=fresh,
    )


def match_words(match: Match, rows: Sequence[ArmRow]) -> str:
    """What was made equal, and the optimizer steps that the records show."""
    steps = [row.steps for row in rows if row.steps is not None]
    if not steps:
        return MATCHED[match]
    least, most = min(low for low, _ in steps), max(high for _, high in steps)
    if least == most:
        return f"{MATCHED[match]}; each finished run took {least:,} optimizer steps"
    return f"{MATCHED[match]}; finished runs took {least:,} to {most:,} optimizer steps"


def correction_words(screened: Correction, confirmed: Correction, tasks: int = 1) -> str:
    """What p-values were adjusted by, and over how many; of several tasks, which family is the primary one."""
    said = screened.in_words
    if confirmed.size:
        said += f"; of the confirmation {confirmed.in_words}"
    if tasks > 1:
        said += (
            ", for each arm on each task, which is a secondary family of its own; primary is each arm over all "
            f"{tasks} tasks, Holm over the arms"
        )
    return f"{said}. Intervals are 95 % for each comparison alone"
