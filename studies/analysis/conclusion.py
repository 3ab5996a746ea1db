"""What may be said of one comparison: a word and a sentence, never more than its numbers say."""

from dataclasses import dataclass, field

from ..statistics.outperforming import MEANINGFUL
from ..statistics.power import detectable_effect
from .analysis import Conclusion, Estimate
from .wording import LEVEL, interval, listed, p_value, plain

POWER = 0.8
LEAST = 4
"""Below so many pairs nothing is claimed (methods: 3 seeds), but for an effect that even 3 would show almost always."""
LEAST_EVER = 3
SHARES_FROM = 20
"""Pairs from which on the share of seeds with a better result is judged too (methods 4.9)."""
FLIPS, ONE_SIDED_FLIPS = "exact sign flips", "exact one-sided sign flips"
"""Whose p-values those of differences are that are all equal (``paired``, ``tost``)."""


@dataclass(frozen=True)
class Correction:
    """How p-values were adjusted.

    Args:
        name: ``Holm`` or ``max-T sign flips``.
        test: whose p-values they are.
        size: comparisons in the family.
    """

    name: str
    test: str
    size: int

    @property
    def level(self) -> float:
        """That every comparison has at least."""
        return LEVEL / max(1, self.size)

    @property
    def in_words(self) -> str:
        if self.size < 2:
            return f"{self.test}; one comparison, not adjusted" if self.size else "no comparison"
        return f"{self.test}, {self.name} over {self.size} comparisons"

    def words(self, p: float, n: int, test: str = "") -> str:
        """``paired t, n = 5, Holm over 7: p = 0.03``."""
        over = f"{self.name} over {self.size}: " if self.size > 1 else ""
        return f"{test or self.test}, n = {n}, {over}{p_value(p)}"


@dataclass(frozen=True)
class Compared:
    """The numbers of one comparison.

    Args:
        arm: name.
        reference: name.
        metric: its title, without an arrow.
        mode: which way is better.
        difference: arm less reference with the paired t interval; None without a pair.
        sd: of the differences; None below two pairs.
        effect: d_z; None where that is 0 or unknown.
        p_adjusted: of the family.
        correction: how.
        margin: of equivalence; None where none was declared.
        p_equivalent: the larger of the two one-sided tests, adjusted.
        narrow: the 90 % interval that belongs to them.
        items: over rows; None where it is not known.
        outperforms: share of seeds on which the arm is better, ties half; None where nobody counted.
        refused: why pairs were refused.
        absent: why others are missing.
    """

    arm: str
    reference: str
    metric: str
    mode: str
    difference: Estimate | None
    sd: float | None
    effect: float | None
    p_adjusted: float | None
    correction: Correction
    margin: float | None = None
    p_equivalent: float | None = None
    narrow: Estimate | None = None
    items: Estimate | None = None
    outperforms: Estimate | None = None
    refused: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return 0 if self.difference is None else self.difference.n

    @property
    def is_better(self) -> bool:
        assert self.difference is not None
        return (self.difference.value > 0) == (self.mode == "max")

    @property
    def differs(self) -> bool:
        """Whether a difference is shown over seeds."""
        found = self.difference
        if found is None or self.p_adjusted is None or self.p_adjusted >= LEVEL or not excludes_zero(found):
            return False
        return self.n >= LEAST or self.is_huge

    @property
    def is_huge(self) -> bool:
        """Whether even three seeds would show such an effect in four studies of five."""
        least = detectable_effect(self.n, POWER, self.correction.level) if self.n >= LEAST_EVER else None
        return least is not None and self.effect is not None and abs(self.effect) >= least

    @property
    def is_flipped(self) -> bool:
        """Whether the differences are all equal, so that there is no t."""
        return self.n > 1 and not self.sd

    def words(self, p: float) -> str:
        """Of the test of a difference."""
        by_t = self.correction.name != "max-T"
        return self.correction.words(p, self.n, FLIPS if self.is_flipped and by_t else "")

    @property
    def is_equivalent(self) -> bool:
        return self.n >= LEAST and self.p_equivalent is not None and self.p_equivalent < LEVEL

    @property
    def detectable(self) -> float | None:
        """In units of the metric, by the spread that was seen and the t test; None where max-T decides."""
        if self.correction.name == "max-T":
            return None
        least = detectable_effect(self.n, POWER, self.correction.level) if self.n else None
        return None if least is None or not self.sd else least * self.sd


def conclude(found: Compared) -> tuple[Conclusion, str]:
    """The word and the sentence."""
    if not found.n:
        return _nothing(found)
    if found.is_equivalent:
        return _equivalent(found)
    if found.differs:
        return _different(found)
    if found.n < LEAST:
        return "not powered", _not_powered(found)
    return "undecided", _undecided(found)


def excludes_zero(estimate: Estimate) -> bool:
    """Without an interval (values that are all equal) the value itself has to be other than 0."""
    if estimate.low is None or estimate.high is None:
        return estimate.value != 0
    return estimate.low > 0 or estimate.high < 0


def _nothing(found: Compared) -> tuple[Conclusion, str]:
    both = f"{found.arm} and {found.reference}"
    if found.refused:
        return "not paired", f"{both} are not compared: {_reasons(found.refused)}."
    return "missing", f"There is no pair of results of {both}: {_reasons(found.absent)}."


def _reasons(given: dict[str, str]) -> str:
    """Seeds of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for seeds, reason in given.items():
        by_reason.setdefault(reason, []).append(seeds)
    return "; ".join(f"{reason} (seeds {listed(seeds)})" for reason, seeds in by_reason.items()) or "none is planned"


def _different(found: Compared) -> tuple[Conclusion, str]:
    assert found.difference is not None and found.p_adjusted is not None
    estimate, sign = found.difference, 1.0 if found.difference.value > 0 else -1.0
    how = found.words(found.p_adjusted)
    if found.items is not None and not _same_side(found.items, estimate):
        way = "above" if sign > 0 else "below"
        what = "points the other way" if excludes_zero(found.items) else "includes 0"
        return "undecided", (
            f"On the evaluated rows {found.arm} is {way} {found.reference} by {interval(estimate, sign)} in "
            f"{found.metric} ({how}), but the interval over rows, {interval(found.items, sign)}, {what}, so this holds "
            "for these rows and is not shown for others."
        )
    word: Conclusion = "better" if found.is_better else "worse"
    by = interval(estimate, sign)
    return (
        word,
        f"{found.arm} is {word} than {found.reference} by {by} in {found.metric} ({how}).{_share(found)}{_gaps(found)}",
    )


def _equivalent(found: Compared) -> tuple[Conclusion, str]:
    assert found.difference is not None and found.p_equivalent is not None and found.margin is not None
    both, margin = f"{found.arm} and {found.reference}", plain(found.margin)
    shown = f"the difference in {found.metric} is {interval(found.narrow or found.difference)}"
    shown += ", 90 % interval" if found.narrow is not None and found.narrow.low is not None else ""
    test = ONE_SIDED_FLIPS if found.is_flipped else "two one-sided t tests"
    how = Correction("Holm", "", found.correction.size).words(found.p_equivalent, found.n, test)
    if found.items is not None and found.items.low is None and not _within(found.items, found.margin):
        return "undecided", (
            f"On the evaluated rows {both} are alike within {margin}: {shown} ({how}), but that {found.items.n:,} rows "
            f"do not differ leaves room for {plain(_room(found.items.n))} in others, so this is not shown for others."
        )
    if found.items is not None and not _within(found.items, found.margin):
        return "undecided", (
            f"On the evaluated rows {both} are alike within {margin}: {shown} ({how}), but the interval over rows, "
            f"{interval(found.items)}, reaches beyond it, so this is not shown for others."
        )
    also = ""
    if found.differs and found.p_adjusted is not None:
        also = f" That there is a difference at all is shown ({p_value(found.p_adjusted)}); it is within the margin."
    return "equivalent", f"{both} are equivalent within {margin}: {shown} ({how}).{also}{_gaps(found)}"


def _not_powered(found: Compared) -> str:
    assert found.difference is not None
    seeds = "1 pair" if found.n == 1 else f"{found.n} pairs"
    p = "" if found.p_adjusted is None else f" ({found.words(found.p_adjusted)})"
    return (
        f"Not powered: {seeds} of seeds cannot tell {found.arm} from {found.reference}; the difference in "
        f"{found.metric} is {interval(found.difference)}{p}.{_gaps(found)}"
    )


def _undecided(found: Compared) -> str:
    assert found.difference is not None
    said = f"No difference between {found.arm} and {found.reference} is shown: "
    if found.difference.value == 0 and not found.sd:
        return f"{said}all {found.n} pairs are equal in {found.metric}.{_gaps(found)}"
    p = "" if found.p_adjusted is None else f" ({found.words(found.p_adjusted)})"
    said += f"{interval(found.difference)} in {found.metric}{p}."
    if excludes_zero(found.difference) and found.difference.low is not None and found.correction.size > 1:
        said += " The interval is that of this comparison alone; after the correction for all of them nothing is shown."
    least = found.detectable
    if least is not None and least > abs(found.difference.value):
        said += (
            f" By the spread seen (an estimate from {found.n} pairs) a difference of {plain(least)} would have been "
            "found with 80 % power."
        )
    if found.margin is not None:
        said += f" That they are equivalent within {plain(found.margin)} is not shown either."
    return said + _share(found) + _gaps(found)


def _share(found: Compared) -> str:
    """P(better) and what it says, of the shown side (Bouthillier et al. 2021); empty of fewer than 20 pairs.

    Of a difference that is not shown it is a share alone, since its interval knows nothing of the other comparisons.
    """
    wins = found.outperforms
    if wins is None or wins.low is None or wins.high is None or found.n < SHARES_FROM:
        return ""
    better = not found.differs or found.is_better
    value, low, high = (wins.value, wins.low, wins.high) if better else (1 - wins.value, 1 - wins.high, 1 - wins.low)
    word = "better" if better else "worse"
    said = f" It is {word} on {100 * value:.0f} % of {found.n} seeds [{100 * low:.1f}, {100 * high:.1f}]"
    if not found.differs:
        return f"{said}, ties half."
    if low <= 0.5:
        return f"{said}: by this share alone not significant."
    if high <= MEANINGFUL:
        return f"{said}: significant, not meaningful (at most {100 * MEANINGFUL:.0f} %)."
    return f"{said}: significant and meaningful ({100 * MEANINGFUL:.0f} % is not excluded)."


def _gaps(found: Compared) -> str:
    gone = {**found.refused, **found.absent}
    return f" Pairs left out: {_reasons(gone)}." if gone else ""


def _same_side(items: Estimate, estimate: Estimate) -> bool:
    return excludes_zero(items) and (items.value > 0) == (estimate.value > 0)


def _within(items: Estimate, margin: float) -> bool:
    if items.low is None or items.high is None:
        return abs(items.value) + _room(items.n) < margin
    return -margin < items.low and items.high < margin


def _room(rows: int) -> float:
    """Largest share of other rows that may not be like these, of which all are alike: 95 %, one-sided and exact.

    Of scores between 0 and 1 so much the difference over other rows may be.
    """
    return 1 - LEVEL ** (1 / rows)
