"""What a study file says, once it is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..contracts.metrics import Mode
from ..contracts.seeds import Seeds

DesignType = Literal["grid", "one_factor", "leave_one_out", "nested", "cells"]
Match = Literal["steps", "tokens", "flops", "time", "none"]
Overrides = dict[str, Any]
"""Configuration key (``init_args`` may be left out, as on the command line) -> value; a class is replaced whole."""


@dataclass(frozen=True)
class Level:
    """One setting of a factor.

    Args:
        name: as in the study file; of a numeric factor the number, e.g. ``"500"``.
        overrides: what it changes in the base configuration.
        where: file:line.
        placebo_of: level of the same factor whose extra compute this one spends without its idea.
    """

    name: str
    overrides: Overrides
    where: str
    placebo_of: str | None = None


@dataclass(frozen=True)
class Factor:
    """What is varied.

    Args:
        name: as in the study file.
        levels: in the order of the file.
        when: factor -> its levels under which this one applies; empty for always.
    """

    name: str
    levels: tuple[Level, ...]
    when: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricSpec:
    """The primary metric.

    Args:
        name: as in the record, e.g. ``accuracy``; of one of several sets ``NAME/accuracy``.
        split: ``validation`` or ``test``.
        mode: which way is better.
    """

    name: str
    split: Literal["validation", "test"]
    mode: Mode

    @property
    def key(self) -> str:
        """As ``scores.score`` takes it: ``test/accuracy``."""
        return f"{self.split}/{self.name}"


@dataclass(frozen=True)
class Dimension:
    """What is searched of one configuration key, the same for every arm.

    Args:
        key: of the configuration.
        values: to be tried as they are.
        times: multiples of the arm's own default, to be tried instead.
        low: least value of a range that is sampled instead.
        high: largest one.
        log: whether the range is sampled on a logarithmic scale.
    """

    key: str
    values: tuple[Any, ...] = ()
    times: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Tune:
    """The same search for every arm.

    Args:
        space: what is searched.
        trials: settings tried per arm; trial 0 is the arm's default.
        seeds: replicates of a trial, disjoint from those that are reported.
        metric: what picks the trial, always on the validation split.
        sampler: ``grid`` takes the settings in order, ``random`` draws them, ``tpe`` asks Optuna.
    """

    space: tuple[Dimension, ...]
    trials: int
    seeds: tuple[Seeds, ...]
    metric: MetricSpec
    sampler: Literal["grid", "random", "tpe"] = "grid"


@dataclass(frozen=True)
class Confirm:
    """A second stage: survivors and baseline once more, on fresh seeds that are never pooled with the first.

    Args:
        arms: most survivors: of the arms that screening found better, those with the largest difference.
        seeds: the fresh replicates.
    """

    arms: int
    seeds: tuple[Seeds, ...]


@dataclass(frozen=True)
class Limits:
    """What a study may cost.

    Args:
        cells: refused above.
        timeout: seconds that one attempt of a cell may take; None for ever.
        retries: further attempts after a failure of the infrastructure; other failures are not tried again.
        memory_retries: further attempts after memory ran out.
    """

    cells: int = 500
    timeout: float | None = None
    retries: int = 2
    memory_retries: int = 0


@dataclass(frozen=True)
class EngineSpec:
    """Where cells run.

    Args:
        name: ``local``, ``ray`` or ``slurm``.
        options: of that engine, e.g. ``slots`` and ``threads``.
    """

    name: Literal["local", "ray", "slurm"] = "local"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study file.

    Args:
        name: of the study, and of its folder under ``root``.
        file: where it was read.
        text: the whole of it, kept with the results.
        question: what it asks, in the user's words.
        base: the configuration that every cell starts from.
        root: folder that holds the studies' results.
        overrides: for every cell, beside the levels.
        factors: what is varied.
        design: which combinations of levels become arms.
        listed: the combinations of the design ``cells``.
        baseline: factor -> level of the arm that the others are compared with.
        within: factors whose arms are compared with the arm of equal levels of these and the baseline's of all others;
            empty: every arm is compared with the baseline.
        tasks: the factor whose levels are data sets, over which arms are compared, rather than settings to compare.
        replicates: paired seed triples, the same for every arm.
        metric: the primary one, declared before anything runs.
        secondary: keys of further scores, e.g. ``test/nll``, ``forgetting/difference``, ``cost/training_seconds``.
        tune: the search; None for the defaults of each arm.
        match: what is equal between the arms; ``none`` where it is on purpose nothing, as in a learning curve over the
            size of the data with equal epochs.
        margin: differences within it count as none, in units of the primary metric; None: equivalence is not tested.
        noise: repeats of the baseline with one seed triple, and as many with others.
        confirm: the second stage; None for none.
        engine: where cells run.
        limits: what it may cost.
        views: figures of a kind of study -> its factor, e.g. ``{"learning_curve": "rows"}``.
        trusted: packages that the configurations may name beside the allowed ones.
    """

    name: str
    file: Path
    text: str
    question: str
    base: Path
    root: Path
    overrides: Overrides
    factors: tuple[Factor, ...]
    design: DesignType
    listed: tuple[dict[str, str], ...]
    baseline: dict[str, str]
    within: tuple[str, ...]
    tasks: str | None
    replicates: tuple[Seeds, ...]
    metric: MetricSpec
    secondary: tuple[str, ...]
    tune: Tune | None
    match: Match
    margin: float | None
    noise: int
    confirm: Confirm | None
    engine: EngineSpec
    limits: Limits
    views: dict[str, str]
    trusted: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where everything of it is written."""
        return self.root / self.name
