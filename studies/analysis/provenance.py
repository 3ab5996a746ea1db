"""Where the numbers come from."""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...contracts.figures import duration
from ..resolution import Resolution
from ..results import CellResult
from ..study import Study
from .material import label
from .wording import counted, listed

NAMED = 6
SHORT = 12


def provenance(
    study: Study, resolution: Resolution, results: Sequence[CellResult], codes: Collection[str] = ()
) -> dict[str, str]:
    """Name -> value, in words; the source is that of the cells (``codes``), the plan's where nobody knows."""
    records = [result.record for result in results]
    said = {
        "study file": study.file.name,
        "base configuration": study.base.name,
        "cells": counted(len(results), "finished run"),
        "versions": _same(_versions(record.versions) for record in records) or _versions(resolution.versions),
        "hardware": _same(hardware(record.hardware) for record in records),
        "data": _same(str(record.data.get("fingerprint", "unknown")) for record in records),
        "base model": _same(record.base for record in records),
        "base weights": _same(variant.base[:SHORT] for variant in resolution.variants.values()),
        "finelab's source": _same(code[:SHORT] for code in sorted(codes) or [resolution.code]),
        "first run": min((record.started for record in records), default=""),
        "last run": max((record.started for record in records), default=""),
        "whole time of all runs": duration(sum(record.cost.total_seconds for record in records)) if records else "",
        "of that in training": duration(sum(record.cost.training_seconds for record in records)) if records else "",
        "seeds": listed([_seeds(result) for result in _one_a_seed(results)]),
        "engine": " ".join([study.engine.name, *(f"{key}={value}" for key, value in study.engine.options.items())]),
    }
    return {name: value for name, value in said.items() if value}


def command(study: Study) -> str:
    """The one that makes all of it again, from the folder in which it was run."""
    file = _from_here(study.file) or study.file.name
    return f"finelab study run {shlex.quote(file)}{_root_option(study)}"


def _root_option(study: Study) -> str:
    """Where the results do not lie where the study file says: a report names no folder outside of the current one."""
    said = yaml.safe_load(study.text)
    own = Path(str(said.get("root", "runs"))).expanduser() if isinstance(said, dict) else study.root
    if own.absolute() == study.root.absolute():
        return ""
    root = _from_here(study.root)
    return " --root DIR" if root is None else f" --root {shlex.quote(root)}"


def _from_here(path: Path) -> str | None:
    """Relative to the current folder; None outside of it."""
    whole, here = path.absolute(), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else None


def hardware(found: Mapping[str, Any]) -> str:
    """``AMD EPYC, 2 cores, 1 thread``; empty of a record that does not say."""
    if not found:
        return ""
    devices = found.get("accelerators") or []
    words = [
        str(found.get("processor", "")),
        counted(int(found.get("cores", 0)), "core"),
        counted(int(found.get("threads", 0)), "thread"),
        *map(str, devices),
        str(found.get("system", "")),
    ]
    return ", ".join(filter(None, words))


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _same(values: Iterable[str]) -> str:
    """The value that all share, or the first few."""
    found = list(dict.fromkeys(value for value in values if value))
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + more


def _one_a_seed(results: Sequence[CellResult]) -> list[CellResult]:
    """Of the reported stage."""
    return list({_seeds(result): result for result in results if result.cell.stage == "report"}.values())


def _seeds(result: CellResult) -> str:
    return label(result.cell.seeds)
