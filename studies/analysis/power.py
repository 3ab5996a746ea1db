"""What the design can show, and what it could by the spread that was seen."""

from collections.abc import Sequence

from ..design_power import what_it_can_show
from ..statistics.power import detectable_effect
from ..study import Study
from .analysis import Contrast
from .conclusion import POWER
from .wording import LEVEL, plain


def power_words(study: Study, contrasts: Sequence[Contrast]) -> list[str]:
    """The design's, and the same in units of the metric where there are differences."""
    size = max(1, len(contrasts))
    said = what_it_can_show(len(study.replicates), size, study.margin)
    spreads = [found for contrast in contrasts if (found := spread_of(contrast)) is not None]
    sizes = [least * sd for sd, n in spreads if (least := detectable_effect(n, POWER, LEVEL / size)) is not None]
    if not sizes:
        return said
    low, high = plain(min(sizes)), plain(max(sizes))
    reach = low if low == high else f"{low} to {high}, by arm"
    return [
        *said,
        f"By the spread of the differences that was seen, 80 % power at the strictest corrected level is had for a "
        f"difference of {reach}; the spread itself is an estimate from few seeds.",
    ]


def spread_of(contrast: Contrast) -> tuple[float, int] | None:
    """Standard deviation of the differences and how many there are; None where there is no spread."""
    if contrast.difference is None or not contrast.effect:
        return None
    return abs(contrast.difference.value / contrast.effect), contrast.difference.n
