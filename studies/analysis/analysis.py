"""What may be said about a study: the numbers, their intervals and the words, before they become a page.

Everything is plain values, so that ``analysis.json`` is ``dataclasses.asdict`` of it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Conclusion = Literal["better", "worse", "equivalent", "undecided", "not powered", "not paired", "missing"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Args:
        value: of the estimate.
        low: None where there is no interval (one value).
        high: likewise.
        n: values behind it.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Score:
    """One metric of the study.

    Args:
        key: as ``scores.score`` takes it.
        title: as tables show it, with an arrow where one way is better.
        mode: ``max``, ``min`` or None.
        primary: declared before anything ran; all others are exploratory and bear no test.
        standardized: whether ``ArmRow.scores`` holds it in standard deviations of each data set's scores around their
            mean, since scores of several data sets have no common scale.
    """

    key: str
    title: str
    mode: str | None
    primary: bool
    standardized: bool = False


@dataclass(frozen=True)
class Point:
    """One finished cell's value.

    Args:
        replicate: label of the seed triple, e.g. ``1`` or ``1/2/3``.
        value: of the metric.
        cell: its id.
        task: level of the tasks' factor.
    """

    replicate: str
    value: float
    cell: str
    task: str | None = None


@dataclass(frozen=True)
class ArmRow:
    """One arm of the table.

    Args:
        name: of the arm.
        levels: factor -> level.
        baseline: whether it is the declared baseline.
        placebo: whether it is the placebo of another arm.
        planned: cells of the stage that is reported.
        done: finished ones; what is missing is in ``Analysis.unfinished``.
        setting: what the search chose, configuration key -> value; empty where nothing was searched. Of several data
            sets, what it chose on all of them alike.
        scores: key of a score -> mean with its t interval over replicates; left out where no cell has it. Of several
            data sets each replicate's mean over them, on their own scales (``Score.standardized``).
        points: key of a score -> the values.
        missing: key of a score -> why cells lack it.
        steps: optimizer steps of each cell, least and most.
        bold: best, or not significantly worse than the best (paired test, Holm).
        verdicts: label of the overfitting verdict -> cells.
        stage: ``report``, or ``confirm``: the cells on fresh seeds.
        by_task: level of the tasks' factor -> key of a score -> mean with its t interval, on the score's own scale.
        settings: level of the tasks' factor -> what the search chose there.
    """

    name: str
    levels: dict[str, str]
    baseline: bool
    placebo: bool
    planned: int
    done: int
    setting: dict[str, Any]
    scores: dict[str, Estimate]
    points: dict[str, list[Point]]
    missing: dict[str, str]
    steps: tuple[int, int] | None
    bold: bool
    verdicts: dict[str, int]
    stage: Literal["report", "confirm"] = "report"
    by_task: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Contrast:
    """One arm less its reference on the primary metric, paired by seed triple.

    Args:
        arm: name.
        reference: name of the arm that it is compared with.
        kind: ``reference``: of the declared family; ``placebo``: the arm less its placebo, likewise of the family.
        pairs: differences by replicate; only where the order digests agree.
        difference: their mean with the paired t interval; None below two pairs.
        effect: d_z = mean / standard deviation; None where that is 0 or unknown.
        p: paired t test, two-sided.
        p_adjusted: over the family, by ``Analysis.correction``.
        p_sign_flip: exact, two-sided.
        p_equivalent: the larger of the two one-sided tests against the margin; None without a margin.
        outperforms: P(arm is better), ties half, with Clopper-Pearson's interval.
        items: mean over evaluated rows with the interval over rows, seeds averaged first; None without files.
        items_by_seed: the same of each seed alone, by replicate.
        two_way: seeds and rows both taken as samples.
        conclusion: in one word; ``better`` and ``worse`` by the metric's mode.
        sentence: in words, no more than the numbers say.
        unpaired: why pairs were refused, replicate -> reason.
        stage: ``report``, or ``confirm``: on fresh seeds.
        task: level of the tasks' factor, of a study over several data sets, whose arms have one contrast on each.
        pairing: what the pairs share, in words; empty where it is seeds and the order of the rows.
        p_equivalent_adjusted: Holm over the family; what ``equivalent`` goes by.
    """

    arm: str
    reference: str
    kind: Literal["reference", "placebo"]
    pairs: list[Point]
    difference: Estimate | None
    effect: float | None
    p: float | None
    p_adjusted: float | None
    p_sign_flip: float | None
    p_equivalent: float | None
    outperforms: Estimate | None
    items: Estimate | None
    items_by_seed: dict[str, Estimate]
    two_way: Estimate | None
    conclusion: Conclusion
    sentence: str
    unpaired: dict[str, str] = field(default_factory=dict)
    stage: Literal["report", "confirm"] = "report"
    task: str | None = None
    pairing: str = ""
    p_equivalent_adjusted: float | None = None


@dataclass(frozen=True)
class Trial:
    """One setting of an arm's search.

    Args:
        number: 0 is the default.
        setting: configuration key -> value.
        values: of the selection metric on the validation split, one per tuning seed; None of one that failed.
        mean: over them; None where one is missing.
        chosen: whether the reported cells use it.
    """

    number: int
    setting: dict[str, Any]
    values: list[float | None]
    mean: float | None
    chosen: bool


@dataclass(frozen=True)
class Search:
    """The whole tuning curve of one arm.

    Args:
        arm: name.
        task: level of the tasks' factor.
        metric: key of what picked.
        trials: in their order.
        expected: E[best of k trials], k from 1 on (Dodge et al. 2019, arXiv:1909.03004); empty for a sampler that is
            not random.
    """

    arm: str
    task: str | None
    metric: str
    trials: list[Trial]
    expected: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Unfinished:
    """A cell that has no result.

    Args:
        cell: id.
        arm: name.
        replicate: label.
        stage: of the cell.
        state: ``failed``, ``pending``, ``running`` or ``interrupted``.
        reason: class of the failure, e.g. ``memory``.
        message: what it said, one paragraph.
        attempts: how often it was tried.
        log: path of its log, relative to the study.
        task: level of the tasks' factor.
        trial: of the search.
        setting: that this trial tries, configuration key -> value.
    """

    cell: str
    arm: str
    replicate: str
    stage: str
    state: str
    reason: str
    message: str
    attempts: int
    log: str
    task: str | None = None
    trial: int = 0
    setting: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoiseFloor:
    """How far results lie apart when nothing is changed.

    Args:
        arm: the baseline.
        same: primary metric of reruns with the same seeds; on a CPU all are equal.
        others: of runs with other seeds.
        same_sd: standard deviation of the reruns.
        others_sd: of the others.
        identical: whether the reruns' per-example files agree bit for bit; None where that cannot be told.
        sentence: in words.
    """

    arm: str
    same: list[float]
    others: list[float]
    same_sd: float | None
    others_sd: float | None
    identical: bool | None
    sentence: str


@dataclass(frozen=True)
class Course:
    """The learning curves of one arm, cell by cell.

    Args:
        arm: name.
        metric: of the validations.
        curves: per cell ``(steps, values)``.
        train: per cell ``(steps, training NLL)``.
        verdicts: per cell the label of its overfitting verdict.
    """

    arm: str
    metric: str
    curves: list[tuple[list[int], list[float]]]
    train: list[tuple[list[int], list[float]]]
    verdicts: list[str]


@dataclass(frozen=True)
class Curve:
    """A score over a numeric factor: a learning curve, a strength curve, a learning-rate curve.

    Args:
        kind: ``learning_curve``, ``strength`` or ``learning_rate``.
        factor: name.
        arm: what is held fixed, as a name; empty where nothing else varies.
        x: levels, ascending.
        scores: at each of them.
        fit: parameters of ``a - b n^-c`` (score) or ``a + b n^-c`` (loss), each with its interval; empty of others.
        fitted: ``(x, value, low, high)`` of the fit on a grid.
        flat_at: the size from which on the fit stays within the margin of its limit, with interval; None where that
            cannot be said.
        sentence: in words.
    """

    kind: str
    factor: str
    arm: str
    x: list[float]
    scores: list[Estimate]
    fit: dict[str, Estimate]
    fitted: list[tuple[float, float, float, float]]
    flat_at: Estimate | None
    sentence: str


@dataclass(frozen=True)
class Matrix:
    """Trained on a row's domain, evaluated on a column's.

    Args:
        arm: name.
        metric: name.
        mode: which way is better.
        rows: trained on.
        columns: evaluated on.
        cells: of each row and column; None where missing.
        before: of each column the untouched base.
        sentence: in words.
    """

    arm: str
    metric: str
    mode: str
    rows: list[str]
    columns: list[str]
    cells: list[list[Estimate | None]]
    before: list[float | None]
    sentence: str


@dataclass(frozen=True)
class TaskSummary:
    """An arm against its reference over several data sets.

    Args:
        arm: name.
        reference: name.
        iqm: interquartile mean of the differences, each task's divided by its own standard deviation where
            ``standardized``; with the paired stratified bootstrap's interval.
        standardized: see ``iqm``.
        by_task: task -> difference with its t interval.
        p: the larger of the stratified sign flips over tasks x seeds, which need a seed's differences on several tasks
            to be independent, and of the paired t test of the seeds' means over tasks, which does not.
        p_adjusted: Holm over the arms.
        sentence: in words.
        conclusion: in one word.
        stage: whose cells these are, as ``Contrast.stage``.
    """

    arm: str
    reference: str
    iqm: Estimate
    standardized: bool
    by_task: dict[str, Estimate]
    p: float | None
    p_adjusted: float | None
    sentence: str
    conclusion: Conclusion = "undecided"
    stage: str = "report"


@dataclass(frozen=True)
class Sample:
    """What one arm wrote for one row.

    Args:
        arm: name.
        replicate: label.
        title: e.g. ``row 17 (prompt)``.
        parts: name -> text, e.g. prompt, target, written.
    """

    arm: str
    replicate: str
    title: str
    parts: dict[str, str]


@dataclass(frozen=True)
class Analysis:
    """All of it, in the order of the report.

    Args:
        study: name.
        question: in the user's words.
        verdict: paragraphs of the answer.
        scores: the primary one first.
        arms: in the order of the design.
        contrasts: the family first, then placebos, then those of the confirmation.
        correction: ``Holm`` or ``max-T sign-flip``, over how many.
        match: what was equal between the arms, in words.
        budget: what the search was, in words; empty without one.
        searches: tuning curves.
        unfinished: cells without a result.
        courses: learning curves.
        noise: None where it was not asked for.
        curves: over numeric factors.
        matrices: of a transfer study.
        tasks: over several data sets.
        samples: written text, in an order that does not tell the arms apart by place.
        caveats: what a reader has to know: mixed code versions, unequal steps, cells that failed.
        power: smallest attainable p, detectable difference and power, in words.
        provenance: name -> value: versions, hardware, data, base, code, dates, cost.
        command: the one that reproduces it.
        complete: whether every planned cell is done.
        margin: differences within it count as none; None where none was declared.
        data_sets: levels of the tasks' factor, where there are several.
        confirms: whether the study declares a confirmation, so that ``arms`` and contrasts of ``report`` are those of
            the screening and claim nothing.
        confirmed: arms on fresh seeds, those that were picked and their references.
    """

    study: str
    question: str
    verdict: list[str]
    scores: list[Score]
    arms: list[ArmRow]
    contrasts: list[Contrast]
    correction: str
    match: str
    budget: str
    searches: list[Search]
    unfinished: list[Unfinished]
    courses: list[Course]
    noise: NoiseFloor | None
    curves: list[Curve]
    matrices: list[Matrix]
    tasks: list[TaskSummary]
    samples: list[Sample]
    caveats: list[str]
    power: list[str]
    provenance: dict[str, str]
    command: str
    complete: bool
    margin: float | None = None
    data_sets: list[str] = field(default_factory=list)
    confirms: bool = False
    confirmed: list[ArmRow] = field(default_factory=list)
