"""``finelab study plan``: what would be run, how long it takes and what it can show; nothing is trained."""

from collections.abc import Iterator
from statistics import fmean

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...contracts.figures import duration
from ...contracts.run_config import printable
from ...studies.analysis.contrasts import declared
from ...studies.analysis.wording import counted
from ...studies.arm import Arm
from ...studies.books import Books
from ...studies.cell import Stage
from ...studies.design_power import what_it_can_show
from ...studies.durations import PASSES, STARTING, seconds_left, seconds_of
from ...studies.entries import entries_of
from ...studies.plan import Plan
from ...studies.planning import plan_of
from ...studies.size import stage_sizes
from ...studies.stages import due
from ...studies.variants import variant_name
from ..comparison.terminal import points
from .board import TITLES
from .found import engine_for, find_study
from .running import say, without_comparison
from .study_changes import show_changes
from .words import NO_MEASURE, Words

DEAR = 1.2
"""An arm that costs more than so many times its reference spends extra compute."""


def plan(words: Words) -> int:
    """Print it.

    Returns:
        0.

    Raises:
        UserError: the study cannot be run as it is.
    """
    study = find_study(words)
    slots = engine_for(study).slots
    measure = NO_MEASURE not in words.switches
    tried = " and trying a training step of each arm" if measure else ""
    say(f"Reading {printable(str(study.file))}{tried} ...")
    found = plan_of(study, measure)
    console = Console(highlight=False)
    show_changes(found, say)
    console.print(Text(f"\n{study.name}", style="bold"), end="")
    console.print(Text(printable(f": {study.question}") if study.question else ""))
    console.print(Padding(arm_table(found), (1, 0)))
    console.print(cell_counts(found))
    console.print(Padding(Text(printable(time_of(found, slots))), (1, 0)))
    console.print(points([printable(sentence) for sentence in remarks(found)]))
    console.print(Text(f"\n{words.command('run')} runs it."), soft_wrap=True)
    return 0


def arm_table(plan: Plan) -> Table:
    """Each arm, what it is compared with, and what it costs; without columns that would be empty."""
    places = [(arm, task) for task in plan.tasks for arm in plan.arms]
    columns = {
        "arm": [arm.name if task is None else f"{task}: {arm.name}" for arm, task in places],
        "compared with": [arm.reference or "(reference)" for arm, _ in places],
        "placebo": [arm.placebo or "" for arm, _ in places],
    }
    measured = zip(*(numbers(plan, arm, task) for arm, task in places), strict=True)
    columns |= dict(zip(("trainable", "steps", "a step", "cost"), map(list, measured), strict=True))
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in shown:
        words = title in ("arm", "compared with", "placebo")
        table.add_column(title, overflow="fold", justify="left" if words else "right", no_wrap=not words)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


def numbers(plan: Plan, arm: Arm, task: str | None) -> tuple[str, str, str, str]:
    """Trainable parameters, steps of a run, time of a step, and cost of a step in those of the reference."""
    measured = plan.resolved(arm.name, task).measured
    if measured is None:
        return "", "", "", ""
    steps = plan.steps.get(variant_name(arm.name, task), measured.planned_steps)
    ratio = cost_ratio(plan, arm, task)
    times = "" if ratio is None else f"{ratio:.2f} x"
    return f"{measured.trainable:,}", f"{steps:,}", f"{1000 * measured.seconds_per_step:,.0f} ms", times


def cost_ratio(plan: Plan, arm: Arm, task: str | None) -> float | None:
    """Floating-point operations of a step over those of its reference; seconds where operations cannot be counted."""
    if arm.reference is None:
        return None
    ours, theirs = (plan.resolved(name, task).measured for name in (arm.name, arm.reference))
    if ours is None or theirs is None:
        return None
    if ours.flops_per_step and theirs.flops_per_step:
        return ours.flops_per_step / theirs.flops_per_step
    return ours.seconds_per_step / theirs.seconds_per_step


def cell_counts(plan: Plan) -> Table:
    """Cells of each stage, and how many of them are done."""
    finished = Books(plan.study.folder, writes=False).finished
    known = due(plan, finished).planned
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("stage")
    for title in ("cells", "done"):
        table.add_column(title, justify="right")
    table.add_column("", overflow="fold", style="dim")
    for stage, number in stage_sizes(plan).items():
        done = sum(cell.stage == stage and cell.id in finished for cell in known)
        table.add_row(TITLES[stage], f"{number:,}", f"{done:,}", how(plan, stage))
    return table


def how(plan: Plan, stage: Stage) -> str:
    """How a stage's cells come about."""
    study = plan.study
    arms = counted(len(plan.arms), "arm") + (f" x {len(plan.tasks)} tasks" if len(plan.tasks) > 1 else "")
    if stage == "tune" and study.tune is not None:
        seeds = f" x {len(study.tune.seeds)} seeds" if len(study.tune.seeds) > 1 else ""
        return f"{arms} x {study.tune.trials} trials{seeds}, by {study.tune.metric.key}; the test split is not read"
    if stage == "noise":
        return f"the baseline again: {study.noise} with the same seeds, {study.noise} with others"
    if stage == "confirm" and study.confirm is not None:
        fresh = f"{len(study.confirm.seeds)} fresh seeds"
        return f"at the most: up to {study.confirm.arms} better arms and what they are compared with, on {fresh}"
    return f"{arms} x {counted(len(study.replicates), 'replicate')}"


def time_of(plan: Plan, slots: int) -> str:
    """One sentence on how long the rest takes."""
    entries = {entry.id: entry for entry in entries_of(plan.study.folder)}
    seconds = seconds_of(plan, entries.values())
    finished = Books(plan.study.folder, writes=False).finished
    now = due(plan, finished)
    left = seconds_left(now.cells, {}, seconds, slots, 0.0)
    number = len(now.cells) + now.later
    if not number:
        return "Every cell is done."
    if left is None:
        return f"To run: {number} cells, {slots} at a time. No time is estimated, since no step was measured."
    left += now.later * fmean(seconds.values()) / slots
    more = ", without the confirmation" if now.waits else ""
    how = "about" if any(entry.state == "done" for entry in entries.values()) else "at least"
    return (
        f"To run: {number} cells{more}, {slots} at a time: {how} {duration(round(left))} on this machine. That is "
        f"measured steps, {PASSES} evaluations and {STARTING:.0f} s of set-up a cell, or what finished cells took; a "
        "slow start, more evaluations or another load add to it."
    )


def remarks(plan: Plan) -> Iterator[str]:
    """What the design can and cannot show, and what is missing for a fair comparison."""
    study = plan.study
    if nothing := without_comparison(plan):
        yield nothing
    else:
        family = len(declared(plan.arms, plan.tasks))
        yield from what_it_can_show(len(study.replicates), family, study.margin)
    placebos = {arm.placebo for arm in plan.arms}
    dear = {
        arm.name: ratio
        for arm in plan.arms
        if arm.placebo is None and arm.name not in placebos
        if (ratio := cost_ratio(plan, arm, plan.tasks[0])) is not None and ratio > DEAR
    }
    if dear:
        told = ", ".join(f"{name} ({ratio:.1f} x)" for name, ratio in dear.items())
        yield (
            "A step of these arms costs more than one of what they are compared with, and they have no placebo: "
            f"{told}. If one is better, that may be the computation and not the idea: add a level with placebo_of, or "
            "write match: flops."
        )
    if study.tune is None and len(plan.arms) > 1:
        yield (
            "Nothing is tuned: every arm runs with the settings of its configuration, so that an arm whose learning "
            "rate suits it less is compared unfairly; tune: gives every arm the same search."
        )
