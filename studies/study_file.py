"""A study file, from YAML to what it says: checked as far as that goes without a run's configuration."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ..contracts.config_file import nearest
from ..contracts.errors import UserError
from ..contracts.seeds import Seeds
from ..contracts.uri import package_path
from .factor_entries import read_factors, read_levels_of, read_overrides
from .located import Located, read_located
from .replicates import read_replicates, require_disjoint
from .score_entries import read_metric, read_secondary, read_tune
from .study import Confirm, DesignType, EngineSpec, Factor, Limits, Match, Study

KEYS = (
    "study",
    "question",
    "base",
    "root",
    "overrides",
    "factors",
    "design",
    "baseline",
    "within",
    "tasks",
    "replicates",
    "metric",
    "secondary",
    "tune",
    "match",
    "margin",
    "noise",
    "confirm",
    "engine",
    "limits",
    "views",
    "trust",
)
REQUIRED = ("study", "base", "factors", "baseline", "metric")
VIEWS = ("learning_curve", "strength", "learning_rate", "transfer")
ENGINES = ("local", "ray", "slurm")
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REPORTED, TUNED, CONFIRMED = 1, 901, 1001
"""The first seed of each stage where the file gives a number of replicates."""


def read_study(path: Path, root: Path | None = None) -> Study:
    """Everything that a study file says, with defaults filled in.

    Args:
        path: of the file.
        root: folder for results in the place of the file's own.

    Raises:
        UserError: it cannot be read, or says what cannot be; each names file, line and key.
    """
    whole, text = read_located(path)
    entries = whole.only(KEYS)
    if missing := [name for name in REQUIRED if name not in entries]:
        raise UserError(f"{path} says nothing about {' and '.join(missing)}, which every study needs.")
    factors = read_factors(entries["factors"])
    design, listed = read_design(entries.get("design"), factors)
    tasks = read_tasks(entries.get("tasks"), factors)
    metric = read_metric(entries["metric"])
    replicates = read_replicates(entries.get("replicates"), 5, REPORTED, ())
    tune = read_tune(entries.get("tune"), lambda given: read_replicates(given, 1, TUNED, replicates))
    searched = tune.seeds if tune else ()
    confirm = read_confirm(entries.get("confirm"), (*replicates, *searched))
    stages = {"replicates": replicates, "tune.seeds": searched, "confirm.replicates": confirm.seeds if confirm else ()}
    require_disjoint(stages, path)
    return Study(
        name=read_name(entries["study"]),
        file=path,
        text=text,
        question=entries["question"].written if "question" in entries else "",
        base=read_base(entries["base"]),
        root=root or Path(entries["root"].written if "root" in entries else "runs").expanduser(),
        overrides=read_overrides(entries.get("overrides")),
        factors=factors,
        design=design,
        listed=listed,
        baseline=read_levels_of(entries["baseline"], factors),
        within=read_factor_names(entries.get("within"), factors),
        tasks=tasks,
        replicates=replicates,
        metric=metric,
        secondary=read_secondary(entries.get("secondary"), metric.key),
        tune=tune,
        match=entries["match"].choice(get_args(Match)) if "match" in entries else "steps",  # pyright: ignore[reportArgumentType]
        margin=read_margin(entries.get("margin")),
        noise=read_noise(entries.get("noise")),
        confirm=confirm,
        engine=read_engine(entries.get("engine")),
        limits=read_limits(entries.get("limits")),
        views=read_views(entries.get("views"), factors),
        trusted=read_trusted(entries.get("trust")),
    )


def read_name(given: Located) -> str:
    if not FOLDER.fullmatch(given.written):
        raise given.wrong(
            "but it names a folder: use 1 to 64 letters, digits, dots, dashes and underscores, and start with a letter "
            "or digit."
        )
    return given.written


def read_base(given: Located) -> Path:
    """Relative to the study file; what stands in it is relative to the current folder, as in ``finelab fit``."""
    if given.written.startswith("pkg://"):
        try:
            path = package_path(given.written)
        except UserError as error:
            raise given.wrong(f"but {error}") from error
    else:
        path = given.path.parent / Path(given.written).expanduser()
    if path.is_file():
        return path
    names = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    hint = nearest(path.name, names) if names else "there is no YAML file in that folder."
    raise given.wrong(f"but {path} is no file (a base is looked for from the study file's folder); {hint}")


def read_design(given: Located | None, factors: Sequence[Factor]) -> tuple[DesignType, tuple[dict[str, str], ...]]:
    if given is None:
        return "grid", ()
    kinds: tuple[Any, ...] = get_args(DesignType)
    if not given.is_mapping:
        kind = given.choice(kinds)
        if kind == "cells":
            raise given.wrong("but no cells are listed; write design: {cells: [{FACTOR: LEVEL, ...}, ...]}.")
        return kind, ()  # pyright: ignore[reportReturnType]
    cells = given.only(("cells",)).get("cells")
    listed = tuple(read_levels_of(cell, factors) for cell in cells.items()) if cells else ()
    if not listed:
        raise given.wrong("but no cells are listed; write design: {cells: [{FACTOR: LEVEL, ...}, ...]}.")
    return "cells", listed


def read_factor_names(given: Located | None, factors: Sequence[Factor]) -> tuple[str, ...]:
    if given is None:
        return ()
    return tuple(entry.choice([factor.name for factor in factors]) for entry in given.items())


def read_tasks(given: Located | None, factors: Sequence[Factor]) -> str | None:
    return None if given is None else given.choice([factor.name for factor in factors])


def read_margin(given: Located | None) -> float | None:
    if given is None or given.is_nothing:
        return None
    if (value := given.number()) <= 0:
        raise given.wrong("but a margin is larger than 0; leave it out if equivalence is not asked for.")
    return value


def read_noise(given: Located | None) -> int:
    if given is None:
        return 0
    if (count := given.integer(0)) == 1:
        raise given.wrong("but one rerun has no spread; write 0 for none, or 2 and more.")
    return count


def read_confirm(given: Located | None, used: Sequence[Seeds]) -> Confirm | None:
    if given is None or given.is_nothing:
        return None
    entries = given.only(("arms", "replicates"))
    arms = entries["arms"].integer(1) if "arms" in entries else 1
    return Confirm(arms, read_replicates(entries.get("replicates"), 5, CONFIRMED, used))


def read_engine(given: Located | None) -> EngineSpec:
    if given is None:
        return EngineSpec()
    if not given.is_mapping:
        return EngineSpec(given.choice(ENGINES))  # pyright: ignore[reportArgumentType]
    options = {name: entry.plain() for name, entry in given.entries.items() if name != "name"}
    name = given.entries["name"].choice(ENGINES) if "name" in given.entries else "local"
    return EngineSpec(name, options)  # pyright: ignore[reportArgumentType]


def read_limits(given: Located | None) -> Limits:
    if given is None:
        return Limits()
    found: dict[str, Any] = {}
    for name, entry in given.only(("cells", "timeout", "retries", "memory_retries")).items():
        if name == "timeout":
            found[name] = None if entry.is_nothing else read_duration(entry)
        else:
            found[name] = entry.integer(1 if name == "cells" else 0)
    return Limits(**found)


def read_duration(given: Located) -> float:
    """Seconds, of ``90``, ``90s``, ``15m``, ``6h`` or ``2d``."""
    found = DURATION.fullmatch(given.written)
    seconds = float(found[1]) * SECONDS[found[2]] if found else given.number() if _is_number(given) else 0.0
    if seconds <= 0:
        raise given.wrong("but expected is a time such as 90s, 15m, 6h or 2d.")
    return seconds


def _is_number(given: Located) -> bool:
    return isinstance(given.plain(), int | float)


def read_views(given: Located | None, factors: Sequence[Factor]) -> dict[str, str]:
    if given is None:
        return {}
    names = [factor.name for factor in factors]
    return {kind: entry.choice(names) for kind, entry in given.only(VIEWS).items()}


def read_trusted(given: Located | None) -> tuple[str, ...]:
    return () if given is None else tuple(entry.written for entry in given.items())
