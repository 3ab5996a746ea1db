"""What a design can and cannot show, said before anything is run."""

from .analysis.contrasts import FLIPS_FROM
from .statistics.power import detectable_effect, needed_replicates
from .statistics.sign_flip import DRAWS, EXACT, smallest_p

ALPHA = 0.05
POWER = 0.8
LARGE = 1.0
"""An effect that many would call large: the difference is one standard deviation of the paired differences."""


def what_it_can_show(replicates: int, comparisons: int, margin: float | None = None) -> list[str]:
    """Sentences, the most important one first.

    Args:
        replicates: paired seeds per arm, at least one.
        comparisons: contrasts of the declared family, at least one.
        margin: of equivalence, in units of the primary metric.
    """
    if replicates == 1:
        return [
            "With one replicate nothing is tested: there is no interval and no p. Take at least 5 replicates, or 6 for "
            "an exact sign-flip test."
        ]
    said = [_detectable(replicates, comparisons), _sign_flip(replicates, comparisons), _needed(replicates, comparisons)]
    if margin is not None:
        said.append(
            f"Equivalence within {margin:g} is claimed only where the 90 % interval of a difference lies inside of it; "
            "a difference that is not significant is no evidence of none."
        )
    return [sentence for sentence in said if sentence]


def _detectable(replicates: int, comparisons: int) -> str:
    """Of sign flips the figures of the t test are said: their power differs by a few hundredths."""
    flips = replicates >= FLIPS_FROM
    alone = detectable_effect(replicates, POWER, ALPHA)
    said = (
        f"The {'sign-flip' if flips else 'paired t'} test of {replicates} replicates finds a true difference of "
        f"{'about ' if flips else ''}{alone:.1f} standard deviations of the paired differences (d_z) in {POWER:.0%} of "
        "studies"
    )
    if comparisons == 1:
        return f"{said}."
    strict = detectable_effect(replicates, POWER, ALPHA / comparisons)
    how = "max-T" if flips else "Holm's correction"
    return f"{said}; under {how} for {comparisons} comparisons at worst one of {'about ' if flips else ''}{strict:.1f}."


def _sign_flip(replicates: int, comparisons: int) -> str:
    least = smallest_p(replicates)
    if least > ALPHA:
        return (
            f"Its exact check, the two-sided sign-flip test, cannot go below p = {least:.4g} with {replicates} "
            "replicates, so it can never reach 0.05; 6 are the fewest that can."
        )
    if replicates >= FLIPS_FROM:
        least = least if replicates <= EXACT else 1 / (DRAWS + 1)
        more = "" if comparisons == 1 else f", whatever the number of comparisons: max-T over {comparisons} keeps it"
        return f"Its smallest two-sided p is {least:.2g}{more}."
    corrected = least * comparisons
    said = f"The smallest two-sided p of the exact sign-flip test, its check, is {least:.2g}"
    if comparisons == 1:
        return f"{said}."
    reach = "which can reach 0.05" if corrected <= ALPHA else "which can never reach 0.05"
    return f"{said}, times {comparisons} by Holm's correction {min(1.0, corrected):.2g}, {reach}."


def _needed(replicates: int, comparisons: int) -> str:
    needed = needed_replicates(LARGE, POWER, ALPHA / comparisons)
    if needed is None or needed <= replicates:
        return ""
    return f"A difference of one standard deviation (d_z = 1) would need {needed} replicates."
