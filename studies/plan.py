"""A study with everything resolved that is known before it runs, and the cells that follow from it."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contracts.config_diff import Change
from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.run_config import config_digest
from ..contracts.seeds import Seeds
from .arm import Arm
from .cell import Cell, Stage, identity
from .choices import Choices
from .design import baseline_of, in_order
from .overriding import NoPlace, look_up, overridden
from .plain_values import plain, typed
from .replicates import fresh
from .resolution import Resolution, Resolved, Variant
from .study import Study, Tune
from .tuning import Setting, known_trials
from .variants import tasks_of, variant_name

PLAN_FILE = "plan.json"
NOISE_SEEDS = 1901
"""The first seed of the runs that measure what other seeds do."""


@dataclass(frozen=True)
class Plan:
    """What a study is to run.

    Args:
        study: what the file says.
        arms: under comparison.
        variants: each arm on each task, as it was resolved.
        resolution: their configurations.
        steps: name of a variant -> ``trainer.max_steps`` that makes its budget that of the baseline; a variant that is
            missing runs as it is configured.
        parsed: ``value_key`` of a searched value -> how the parser reads it, where that is another value.
    """

    study: Study
    arms: tuple[Arm, ...]
    variants: tuple[Variant, ...]
    resolution: Resolution
    steps: dict[str, int] = field(default_factory=dict)
    parsed: dict[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str | None, ...]:
        return tasks_of(self.study)

    @property
    def baseline(self) -> Arm:
        """The arm that the study file declares."""
        levels = baseline_of(self.study, in_order(self.study))
        return next(arm for arm in self.arms if arm.levels == levels)

    @cached_property
    def built(self) -> dict[tuple[Any, str], Cell]:
        """Cells that have been asked for, so that each is made once however often a running study asks."""
        return {}

    def resolved(self, arm: str, task: str | None) -> Resolved:
        return self.resolution.variants[variant_name(arm, task)]

    def save(self, folder: Path) -> None:
        """Into plan.json."""
        write_atomically(folder / PLAN_FILE, json.dumps(plain(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        """
        Raises:
            UserError: there is none, or it is not one.
        """
        file = folder / PLAN_FILE
        try:
            return typed(cls, json.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}; finelab study run FILE writes it.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file} is no plan of this version of finelab ({error}); remove it and run the study again: finished "
                "cells are found by their content."
            ) from error


def cells_of(plan: Plan, choices: Choices) -> list[Cell]:
    """Every cell that is known by now.

    All trials of every search; the reported cells, and the noise floor, of arms whose setting is known; the
    confirmation of the arms that were chosen for it. The noise floor is the baseline on the first task: ``noise``
    reruns of the first replicate, with ``repeat`` from 1 on, and ``noise`` runs with seeds that no other stage has.

    Args:
        plan: of the study.
        choices: what results have decided.
    """
    study = plan.study
    cells: list[Cell] = []
    settings: dict[tuple[str, str | None], Setting] = {}
    for task in plan.tasks:
        for arm in plan.arms:
            search = (arm.name, task)
            trials = () if study.tune is None else trials_of(plan, study.tune, search, choices)
            cells += (
                cell_of(plan, Place(arm.name, task, "tune", place, seeds, number), setting)
                for number, setting in enumerate(trials)
                for place, seeds in enumerate(study.tune.seeds if study.tune else ())
            )
            if study.tune is None:
                settings[search] = {}
            elif search in choices.trials:
                settings[search] = dict(trials[choices.trials[search]])
    for (arm, task), setting in settings.items():
        cells += (
            cell_of(plan, Place(arm, task, "report", place, seeds), setting)
            for place, seeds in enumerate(study.replicates)
        )
    cells += _noise(plan, settings)
    for arm in choices.confirmed:
        for task in plan.tasks:
            if study.confirm is not None and (arm, task) in settings:
                cells += (
                    cell_of(plan, Place(arm, task, "confirm", place, seeds), settings[arm, task])
                    for place, seeds in enumerate(study.confirm.seeds)
                )
    return cells


def trials_of(plan: Plan, tune: Tune, search: tuple[str, str | None], choices: Choices) -> tuple[Mapping, ...]:
    """The settings of an arm's search so far, the default first."""
    if search in choices.settings:
        return tuple(choices.settings[search])
    names = tuple(name for name in search if name is not None)
    return tuple(known_trials(tune, defaults_of(plan, *search), names))


def defaults_of(plan: Plan, arm: str, task: str | None) -> Setting:
    """Of every key that is searched the arm's own value.

    Raises:
        UserError: the arm has no such key, or its value cannot be varied so.
    """
    tune = plan.study.tune
    found: Setting = {}
    for dimension in tune.space if tune else ():
        try:
            value = look_up(plan.resolved(arm, task).config, dimension.key)
        except NoPlace as error:
            raise UserError(
                f"{plan.study.file}: tune.space searches {dimension.key}, which arm {arm!r} does not have ({error}); "
                "every arm is searched in the same space, so name a key that all of them have."
            ) from error
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric and (dimension.times or dimension.low is not None):
            raise UserError(
                f"{plan.study.file}: tune.space varies {dimension.key} as a number, and of arm {arm!r} it is "
                f"{value!r}; write values: instead, or give that arm a number."
            )
        found[dimension.key] = value
    return found


@dataclass(frozen=True)
class Place:
    """Where a cell stands in a study, see ``Cell``."""

    arm: str
    task: str | None
    stage: Stage
    replicate: int
    seeds: Seeds
    trial: int = 0
    repeat: int = 0


def cell_of(plan: Plan, place: Place, setting: Mapping[str, Any]) -> Cell:
    """One cell, from the arm's resolved configuration and without another parse.

    The test split is read where a declared score is on it, and never by a trial.
    """
    key = (place, repr(sorted(setting.items())))
    if key not in plan.built:
        plan.built[key] = _built(plan, place, setting)
    return plan.built[key]


def _built(plan: Plan, place: Place, setting: Mapping[str, Any]) -> Cell:
    resolved = plan.resolved(place.arm, place.task)
    config = overridden(resolved.config, {key: _as_parsed(plan, place, key, value) for key, value in setting.items()})
    steps = plan.steps.get(variant_name(place.arm, place.task))
    if steps is not None:
        config["trainer"] |= {"max_steps": steps, "max_epochs": -1}
    test = place.stage != "tune" and reads_test(plan.study)
    config |= {"seeds": place.seeds.as_dict(), "evaluate_test": test}
    content = {
        "config": without_harmless(config),
        "versions": plan.resolution.versions,
        "data": resolved.data,
        "base": resolved.base,
        "repeat": place.repeat,
    }
    return Cell(
        id=identity(content),
        setting=dict(setting),
        config=config,
        config_digest=config_digest(config),
        **{field.name: getattr(place, field.name) for field in fields(place)},
    )


def _as_parsed(plan: Plan, place: Place, key: str, value: Any) -> Any:
    """As the parser reads it: a whole number for a float is one."""
    name = value_key(variant_name(place.arm, place.task), key, value)
    if name in plan.parsed:
        return plan.parsed[name]
    before = look_up(plan.resolved(place.arm, place.task).config, key)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if isinstance(before, float) and whole else value


def value_key(variant: str, key: str, value: Any) -> str:
    """Of one value of a searched key, for ``Plan.parsed``."""
    return json.dumps([variant, key, value], sort_keys=True)


def reads_test(study: Study) -> bool:
    keys = (study.metric.key, *study.secondary)
    return any(key.removeprefix("delta/").startswith("test/") for key in keys)


def without_harmless(config: dict[str, Any], key: str = "") -> dict[str, Any]:
    """A configuration without what changes no number: what is shown, and how batches are fetched."""
    kept: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{key}.{name}" if key else name
        if not Change(path, "", "").changes_numbers:
            continue
        kept[name] = without_harmless(value, path) if isinstance(value, dict) else deepcopy(value)
    return kept


def _noise(plan: Plan, settings: Mapping[tuple[str, str | None], Setting]) -> Iterator[Cell]:
    study, search = plan.study, (plan.baseline.name, plan.tasks[0])
    if not study.noise or search not in settings:
        return
    for repeat in range(1, study.noise + 1):
        yield cell_of(plan, Place(*search, "noise", 0, study.replicates[0], repeat=repeat), settings[search])
    for place, seeds in enumerate(noise_seeds(study)):
        yield cell_of(plan, Place(*search, "noise", place, seeds), settings[search])


def noise_seeds(study: Study) -> tuple[Seeds, ...]:
    """Of the runs that measure what other seeds do."""
    used = (
        *study.replicates,
        *(study.tune.seeds if study.tune else ()),
        *(study.confirm.seeds if study.confirm else ()),
    )
    return fresh(study.noise, NOISE_SEEDS, used)
