"""What a design can and cannot show, said before anything is run."""

from .statistics.power import detectable_effect, needed_replicates
from .statistics.sign_flip import smallest_p

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
    alone = detectable_effect(replicates, POWER, ALPHA)
    said = (
        f"The paired t test of {replicates} replicates finds a true difference of {alone:.1f} standard deviations of "
        f"the paired differences (d_z) in {POWER:.0%} of studies"
    )
    if comparisons == 1:
        return f"{said}."
    strict = detectable_effect(replicates, POWER, ALPHA / comparisons)
    return f"{said}; under Holm's correction for {comparisons} comparisons at worst one of {strict:.1f}."


def _sign_flip(replicates: int, comparisons: int) -> str:
    least = smallest_p(replicates)
    if least > ALPHA:
        return (
            f"Its exact check, the two-sided sign-flip test, cannot go below p = {least:.4g} with {replicates} "
            "replicates, so it can never reach 0.05; 6 are the fewest that can."
        )
    corrected = least * comparisons
    said = f"The smallest two-sided p of the exact sign-flip test is {least:.2g}"
    if comparisons == 1:
        return f"{said}."
    reach = "which can reach 0.05" if corrected <= ALPHA else "which can never reach 0.05"
    return f"{said}, times {comparisons} by Holm's correction {min(1.0, corrected):.2g}, {reach}."


def _needed(replicates: int, comparisons: int) -> str:
    needed = needed_replicates(LARGE, POWER, ALPHA / comparisons)
    if needed is None or needed <= replicates:
        return ""
    return f"A difference of one standard deviation (d_z = 1) would need {needed} replicates."
