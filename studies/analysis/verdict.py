"""The answer in words: only what sentences of single comparisons already say, sorted."""

from collections.abc import Sequence

from .analysis import Contrast, Curve, Matrix, NoiseFloor, TaskSummary
from .material import Material
from .wording import counted, listed, p_value, plain

NAMED = 3
"""More comparisons that show nothing are counted only."""
NO_EVIDENCE = "This is no evidence that there is none."
WITH_SENTENCES = 12
"""More comparisons of one conclusion than these are named only; the table has their numbers."""


def verdict(
    material: Material,
    contrasts: Sequence[Contrast],
    tasks: Sequence[TaskSummary],
    noise: NoiseFloor | None,
    curves: Sequence[Curve],
    matrices: Sequence[Matrix],
) -> list[str]:
    """Paragraphs, the answer first."""
    confirmed = [contrast for contrast in contrasts if contrast.stage == "confirm"]
    screened = [contrast for contrast in contrasts if contrast.stage == "report"]
    said = [*_unfinished(material)]
    over_tasks = [summary.sentence for summary in tasks]
    if confirmed:
        said += [*over_tasks, *paragraphs(confirmed)]
        seeds = counted(len(material.study.replicates), "seed")
        said.append(
            f"The claims are those of the confirmation alone. What screened the arms ({seeds}) is shown in the table "
            "and is no evidence, since the arms were picked by it:"
        )
        said += [f"Screening: {text}" for text in paragraphs(screened)]
    else:
        said += [*_not_confirmed(material), *over_tasks, *paragraphs(screened)]
    said += [found.sentence for found in (*curves, *matrices)]
    if noise is not None:
        said.append(noise.sentence)
    return said or ["There is nothing to compare: the study has one arm, or no arm has a reference."]


def paragraphs(contrasts: Sequence[Contrast]) -> list[str]:
    """Claims first, then what is not shown."""
    said = []
    for word in ("better", "worse", "equivalent", "undecided", "not powered", "not paired", "missing"):
        of_word = [contrast for contrast in contrasts if contrast.conclusion == word]
        if word == "undecided" and len(of_word) > 1:
            said += _undecided(of_word)
        elif word == "not powered" and len(of_word) > 1:
            said.append(_not_powered(of_word))
        elif len(of_word) > WITH_SENTENCES:
            said.append(f"{word.capitalize()}: {_named(of_word)}; the table has the numbers.")
        else:
            said += [contrast.sentence for contrast in of_word]
    return said


def _undecided(contrasts: Sequence[Contrast]) -> list[str]:
    """Those with a difference on these rows keep their sentence; the others are one paragraph."""
    special = [contrast for contrast in contrasts if contrast.sentence.startswith("On the evaluated rows")]
    others = [contrast for contrast in contrasts if contrast not in special]
    said = [contrast.sentence for contrast in special]
    if len(others) == 1:
        return [*said, others[0].sentence]
    if len(others) > NAMED:
        said.append(f"No difference is shown in {len(others):,} comparisons{_nearest(others)}. {NO_EVIDENCE}")
    elif others:
        said.append(f"No difference is shown for {_named(others)}. {NO_EVIDENCE}")
    return said


def _nearest(contrasts: Sequence[Contrast]) -> str:
    """The one that came closest."""
    tested = [(each.p_adjusted, each) for each in contrasts if each.p_adjusted is not None]
    if not tested:
        return ""
    least, nearest = min(tested, key=lambda each: each[0])
    return f"; the smallest adjusted p is {p_value(least).removeprefix('p = ')}, of {_named([nearest])}"


def _not_powered(contrasts: Sequence[Contrast]) -> str:
    counts = sorted({len(contrast.pairs) for contrast in contrasts})
    pairs = listed([f"{count:,}" for count in counts])
    return (
        f"Not powered: with {pairs} {'pair' if counts == [1] else 'pairs'} of seeds nothing is claimed of "
        f"{_named(contrasts)}. The table shows the differences and their intervals."
    )


def _named(contrasts: Sequence[Contrast]) -> str:
    """``a and b against c; d against e``."""
    by_reference: dict[str, list[str]] = {}
    for contrast in contrasts:
        about = contrast.arm if contrast.task is None else f"{contrast.arm} on {contrast.task}"
        by_reference.setdefault(contrast.reference, []).append(about)
    return "; ".join(f"{listed(arms)} against {reference}" for reference, arms in by_reference.items())


def _not_confirmed(material: Material) -> list[str]:
    """Of a study that confirms, and has not."""
    if material.study.confirm is None:
        return []
    if _over(material):
        return [
            "No arm was ahead of its reference in the screening, so nothing was confirmed on fresh seeds. What follows "
            "is the screening, which claims nothing:"
        ]
    return ["The confirmation on fresh seeds has not run yet. What follows is the screening, which claims nothing yet:"]


def _over(material: Material) -> bool:
    """Whether nothing that decides about the confirmation is still to come; what has failed does not come."""
    ahead = any(each.stage in ("tune", "report") and each.state != "failed" for each in material.unfinished)
    return not ahead and (_reported(material) > 0 or bool(material.unfinished))


def _reported(material: Material) -> int:
    return sum(result.cell.stage == "report" for result in material.results)


def _unfinished(material: Material) -> list[str]:
    done, planned = _reported(material), material.planned * len(material.arms)
    said = []
    if done < planned:
        share = f"{done:,} of {planned:,} reported cells are done"
        said.append(f"Not complete: {share} ({plain(100 * done / planned)} %). All that follows is about these.")
    if open_cells := sum(cell.stage == "confirm" for cell in material.unfinished):
        said.append(f"The confirmation is not complete: {counted(open_cells, 'cell')} of it without a result.")
    return said
