"""What a reader has to know before believing a number."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from ..plan import without_harmless
from ..results import CellResult
from .analysis import ArmRow, Contrast, Search
from .material import Material
from .provenance import hardware
from .searches import at_edge
from .wording import counted, listed, plain

EXTRA_COMPUTE = 1.25
"""Beyond so many times its reference's seconds per step, an arm spends compute that a placebo should spend too."""
EARLY_STOPPING = "EarlyStopping"
NAMED = 4
MEANT = ("report", "confirm")
"""Stages whose scores are averaged."""
SEVERAL = 3
"""Arms from which on picking the best of them is worth a warning."""


def caveats(
    material: Material,
    rows: Sequence[ArmRow],
    contrasts: Sequence[Contrast],
    searched: Sequence[Search],
    codes: Collection[str] = (),
) -> list[str]:
    """Sentences, the gravest first.

    Args:
        material: the cells.
        rows: of the table.
        contrasts: all of them.
        searched: tuning curves.
        codes: digests of finelab's source that cells ran with, where they are known.
    """
    found = [
        *_failed(material),
        *_unpaired(contrasts),
        *_mixed(material, codes),
        *_edited(material),
        *_lengths(material, rows),
        *_stopping(material),
        *_compute(material),
        *_edges(material, searched),
        *_validation(material),
        *_rows_unknown(material, contrasts),
        *_test_read(material),
        *_picked(material, contrasts),
    ]
    return found


def seconds_per_step(results: Sequence[CellResult]) -> float | None:
    """Of the fastest cell, training alone: what else the machine did makes runs slower and never faster."""
    costs = [result.record.cost for result in results if result.record.cost.steps]
    return min((cost.training_seconds / cost.steps for cost in costs), default=None)


def _failed(material: Material) -> Iterator[str]:
    every = [each for each in material.unfinished if each.state == "failed"]
    lost = [each for each in every if each.stage in MEANT]
    diverged = Counter(each.arm for each in lost if each.reason == "nonfinite")
    others = Counter((each.arm, each.reason) for each in lost if each.reason != "nonfinite")
    if diverged:
        arms = listed([f"{arm} ({counted(count, 'cell')})" for arm, count in diverged.items()])
        yield (
            f"Diverged: {arms}. These cells are results that no mean includes, so that the means of their arms are "
            "those of the luckier seeds."
        )
    if others:
        yield f"Failed: {_counts(others)}. What is missing is missing in every mean and every pair."
    if trials := Counter((each.arm, each.reason) for each in every if each.stage == "tune"):
        yield (
            f"Trials of the search that failed: {_counts(trials)}. Each counts as the worst of its arm; no mean of the "
            "table misses it."
        )
    if reruns := Counter((each.arm, each.reason) for each in every if each.stage == "noise"):
        yield f"Reruns for the noise floor that failed: {_counts(reruns)}."
    if waiting := [each for each in material.unfinished if each.state != "failed"]:
        yield f"{counted(len(waiting), 'cell')} of the plan {'is' if len(waiting) == 1 else 'are'} not done yet."


def _counts(found: Counter[tuple[str, str]]) -> str:
    return listed([f"{arm} ({counted(count, 'cell')}: {why})" for (arm, why), count in found.items()])


def _unpaired(contrasts: Sequence[Contrast]) -> Iterator[str]:
    by_seed = {contrast.pairing: None for contrast in contrasts if contrast.pairing and contrast.pairs}
    for words in by_seed:
        arms = [contrast.arm for contrast in contrasts if contrast.pairing == words]
        yield f"{_names(arms)}: the runs are {words}."
    refused = [contrast.arm for contrast in contrasts if contrast.conclusion == "not paired"]
    if refused:
        yield f"{_names(refused)}: not compared with the reference, since the runs do not pair."


def _mixed(material: Material, codes: Collection[str]) -> Iterator[str]:
    if len(codes) > 1:
        yield f"The cells ran with {len(codes)} versions of finelab's own source."
    about: list[tuple[str, set[str]]] = [
        ("versions of the packages", {_flat(result.record.versions) for result in material.results}),
        ("kinds of hardware", {hardware(result.record.hardware) for result in material.results}),
    ]
    for what, values in about:
        if len(values) > 1:
            yield f"The cells ran on {len(values)} {what}; scores differ in their last digits and times do not compare."


def _edited(material: Material) -> Iterator[str]:
    """Rows may change under a running study; what it resolved before it began does not tell."""
    seen: dict[str, set[str]] = {}
    for result in material.results:
        config = without_harmless(result.cell.config)
        model = config.get("model", {})
        base = model.get("base") if isinstance(model, dict) else None
        asked = json.dumps([config.get("data"), base, result.cell.seeds.data], sort_keys=True, default=str)
        seen.setdefault(asked, set()).add(str(result.record.data.get("fingerprint")))
    if any(len(prints) > 1 for prints in seen.values()):
        yield (
            "The data were edited while the study ran: cells of one data section and one data seed have other "
            "fingerprints. Their scores are of other rows."
        )


def _lengths(material: Material, rows: Sequence[ArmRow]) -> Iterator[str]:
    if material.study.match != "steps":
        return
    lengths = {row.name: row.steps for row in rows if row.steps is not None}
    if len(set(lengths.values())) > 1:
        least, most = min(low for low, _ in lengths.values()), max(high for _, high in lengths.values())
        yield f"Training was not equally long: {least:,} to {most:,} optimizer steps."


def _stopping(material: Material) -> Iterator[str]:
    stops = {
        arm.name: any(EARLY_STOPPING in str(name) for name in _callbacks(results[0].cell.config))
        for arm in material.arms
        if (results := material.of(arm.name))
    }
    if len(set(stops.values())) > 1:
        yield f"Only some arms may stop early: {_names([arm for arm, may in stops.items() if may])}."


def _compute(material: Material) -> Iterator[str]:
    dearer = []
    for arm in material.arms:
        own = seconds_per_step(material.of(arm.name))
        other = seconds_per_step(material.of(arm.reference)) if arm.reference is not None else None
        is_placebo = any(arm.name == each.placebo for each in material.arms)
        if own and other and own > EXTRA_COMPUTE * other and arm.placebo is None and not is_placebo:
            dearer.append(f"{arm.name} ({plain(own / other)} x)")
    if dearer:
        yield (
            f"More time per step than the reference, and no placebo arm that spends it without the idea: "
            f"{_names(dearer)}. A gain of these may be one of compute."
        )


def _edges(material: Material, searched: Sequence[Search]) -> Iterator[str]:
    tune = material.study.tune
    if tune is None:
        return
    found = {search.arm: keys for search in searched if (keys := at_edge(search, tune))}
    if found:
        said = listed([f"{arm} ({listed(keys)})" for arm, keys in found.items()])
        yield (
            f"The search ended at the edge of its space: {said}. With {counted(tune.trials, 'trial')} a better setting "
            "may lie beyond it."
        )


def _validation(material: Material) -> Iterator[str]:
    study = material.study
    if study.metric.split != "validation":
        return
    chose = " and the search" if study.tune is not None else ""
    yield f"The primary metric is on validation, which also chose the weights{chose}: its scores are optimistic."


def _rows_unknown(material: Material, contrasts: Sequence[Contrast]) -> Iterator[str]:
    paired = [contrast for contrast in contrasts if contrast.pairs]
    if paired and not any(contrast.items or contrast.items_by_seed for contrast in paired):
        yield (
            f"{material.study.metric.key} has no value per row in these runs: what is shown holds for the evaluated "
            "rows, and nothing is known about others."
        )


def _picked(material: Material, contrasts: Sequence[Contrast]) -> Iterator[str]:
    better = [contrast for contrast in contrasts if contrast.stage == "report" and contrast.conclusion == "better"]
    tried = sum(bool(material.of(arm.name)) for arm in material.arms)
    if material.study.confirm is None and better and tried >= SEVERAL:
        luck = expected_best_of_normal(tried)
        yield (
            f"Whoever picks the best of {tried} arms by these scores picks luck too: of {tried} equal arms the best "
            f"mean lies {luck:.2f} of its standard errors above the truth on average. Fresh seeds (confirm) would tell."
        )


def expected_best_of_normal(count: int) -> float:
    """E[max of so many standard normal values]: 0.56 of 2, 1.54 of 10."""
    grid = np.linspace(-8.0, 8.0, 16_001)
    return float(grid @ np.gradient(ndtr(grid) ** count))


def _test_read(material: Material) -> Iterator[str]:
    read = [result for result in material.results if result.cell.stage == "tune" and result.record.test_read]
    if read:
        yield f"{counted(len(read), 'tuning run')} read the test split; the search was not blind to it."


def _callbacks(config: dict[str, Any]) -> list[Any]:
    found = config.get("trainer", {}).get("callbacks") or []
    return [each.get("class_path", "") if isinstance(each, dict) else each for each in found]


def _flat(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _names(given: Sequence[str]) -> str:
    names = list(dict.fromkeys(given))
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return listed([*names[:NAMED], *more])
