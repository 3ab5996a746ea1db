"""A sentence never says more than its numbers: over thousands of random comparisons."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from finelab.studies.analysis.analysis import Estimate
from finelab.studies.analysis.conclusion import Compared, Correction, conclude
from finelab.studies.analysis.wording import interval, listed, p_value
from finelab.studies.statistics.equivalence import tost
from finelab.studies.statistics.interval import t_interval
from finelab.studies.statistics.paired import paired
from finelab.studies.statistics.sign_flip import sign_flip

CLAIM = re.compile(r"is (better|worse) than")


def compared(differences: np.ndarray, rng: np.random.Generator, **changes) -> Compared:
    """The numbers of one comparison in a random family."""
    test, family = paired(differences), int(rng.integers(1, 9))
    flips = len(differences) >= 8 and bool(rng.integers(2))
    raw = sign_flip(differences) if flips else test.p
    margin = float(10 ** rng.uniform(-3, 0)) if rng.integers(2) else None
    p_equivalent = tost(differences, margin) if margin is not None else None
    narrow = t_interval(differences, 0.90)
    width = float(10 ** rng.uniform(-4, 0))
    centre = test.mean * float(rng.choice([1.0, 1.0, -0.1]))
    items = Estimate(centre, centre - width, centre + width, 100) if rng.integers(2) else None
    given = {
        "arm": "A", "reference": "B", "metric": "accuracy", "mode": str(rng.choice(["max", "min"])),
        "difference": Estimate(test.mean, test.low, test.high, test.n), "sd": test.sd, "effect": test.effect,
        "p_adjusted": None if raw is None else min(1.0, raw * int(rng.integers(1, family + 1))),
        "correction": Correction("max-T" if flips else "Holm", "sign flips" if flips else "paired t", family),
        "margin": margin,
        "p_equivalent": None if p_equivalent is None else min(1.0, p_equivalent * int(rng.integers(1, family + 1))),
        "narrow": Estimate(narrow.value, narrow.low, narrow.high, narrow.n), "items": items,
    }  # fmt: skip
    return Compared(**{**given, **changes})


def test_a_lone_comparison_is_not_called_adjusted() -> None:
    assert Correction("Holm", "paired t", 1).in_words == "paired t; one comparison, not adjusted"


def random_comparisons(count: int):
    rng = np.random.default_rng(7)
    for _ in range(count):
        n = int(rng.choice([1, 2, 3, 4, 5, 6, 8, 10, 12]))
        sd = float(10 ** rng.uniform(-5, 0))
        differences = rng.normal(sd * rng.normal(0, 3), sd, n)
        if rng.random() < 0.3:
            differences = np.round(differences, 2)
        if rng.random() < 0.05:
            differences = np.full(n, differences[0])
        yield compared(differences, rng)


def test_a_sentence_never_contradicts_its_numbers() -> None:
    seen: dict[str, int] = {}
    for found in random_comparisons(6000):
        word, sentence = conclude(found)
        seen[word] = seen.get(word, 0) + 1
        assert found.difference is not None
        value, low, high = found.difference.value, found.difference.low, found.difference.high
        claim = CLAIM.search(sentence)
        assert (claim is not None) == (word in ("better", "worse")), sentence
        if claim is not None:
            assert claim[1] == word == ("better" if (value > 0) == (found.mode == "max") else "worse")
            assert found.p_adjusted is not None and found.p_adjusted < 0.05
            assert low is None or low > 0 or (high is not None and high < 0)
            assert found.n >= 3 and (found.n > 3 or (found.effect is not None and abs(found.effect) > 3.2))
            assert found.items is None or found.items.low * value > 0 < found.items.high * value  # type: ignore[operator]
            assert "No difference" not in sentence and "equivalent" not in sentence
        if word == "equivalent":
            assert found.margin is not None and found.p_equivalent is not None and found.p_equivalent < 0.05
            assert found.n > 3 and abs(value) < found.margin
            assert found.narrow is not None
            if found.narrow.low is not None and found.narrow.high is not None:
                assert -found.margin < found.narrow.low and found.narrow.high < found.margin
            if found.items is not None:
                assert -found.margin < found.items.low and found.items.high < found.margin  # type: ignore[operator]
        else:
            assert "are equivalent within" not in sentence.replace("That they are equivalent within", "")
        if word == "not powered":
            assert found.n <= 3 and sentence.startswith("Not powered: ")
        if "would have been found" in sentence:
            least = float(re.search(r"a difference of ([\d.,e+-]+) would", sentence)[1].replace(",", ""))  # type: ignore[index]
            assert least >= abs(value) * 0.99 and word == "undecided" and "By the spread seen (an estimate" in sentence
            assert found.correction.name != "max-T", "whose power that is not"
    assert set(seen) == {"better", "worse", "equivalent", "undecided", "not powered"} and min(seen.values()) > 50, seen


def test_the_numbers_in_a_sentence_are_those_of_its_comparison() -> None:
    for found in random_comparisons(3000):
        _, sentence = conclude(found)
        assert found.difference is not None
        shown = re.search(r" by (-?[\d.,]+) \[(-?[\d.,]+), (-?[\d.,]+)\]", sentence)
        if shown is None or found.difference.low is None or found.difference.high is None:
            continue
        value, low, high = (float(text.replace(",", "")) for text in shown.groups())
        sign = 1.0 if found.difference.value > 0 else -1.0
        bounds = sorted((sign * found.difference.low, sign * found.difference.high))
        half = (bounds[1] - bounds[0]) / 2
        assert [value, low, high] == pytest.approx([abs(found.difference.value), *bounds], abs=0.06 * half)
        assert low > 0 or "On the evaluated rows" not in sentence
        assert low > 0, "a bound that is not 0 does not look like 0"
        p = re.search(r"p (=|<) ([\d.e-]+)\)", sentence)
        assert p is not None and found.p_adjusted is not None
        exact = found.p_adjusted if "equivalent" not in sentence else found.p_equivalent
        assert exact is not None and (float(p[2]) == pytest.approx(exact, rel=0.06) if p[1] == "=" else exact < 0.001)


def test_power_and_level_by_simulation() -> None:
    """A difference of the named size is found in 80 % of studies, by the level that Holm leaves at least."""
    rng = np.random.default_rng(0)
    differences = rng.normal(size=5)
    found = compared(differences, rng, correction=Correction("Holm", "paired t", 4))
    assert found.detectable is not None and found.sd is not None
    effect = found.detectable / found.sd
    drawn = rng.normal(effect, 1.0, (20_000, 5))
    share = (stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05 / 4).mean()
    assert share == pytest.approx(0.8, abs=0.012)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
def test_null_studies_claim_at_most_as_often_as_the_level_says(n: int) -> None:
    """One comparison, no effect, no items: how often a sentence says better or worse."""
    rng, claims, studies = np.random.default_rng(n), 0, 2000
    for _ in range(studies):
        differences = rng.normal(size=n)
        test = paired(differences)
        alone = Correction("Holm", "paired t", 1)
        found = compared(
            differences, rng, correction=alone, p_adjusted=test.p, items=None, margin=None, p_equivalent=None
        )
        claims += conclude(found)[0] in ("better", "worse")
    assert claims <= stats.binom.ppf(0.999, studies, 0.05)
    assert claims > 0 if n > 3 else claims <= stats.binom.ppf(0.999, studies, 0.03)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.04996, "p = 0.04996"), (0.0501, "p = 0.05"), (0.05, "p = 0.05"), (0.031, "p = 0.031"), (1e-7, "p < 0.001"),
     (0.0625, "p = 0.062"), (1.0, "p = 1")],
)  # fmt: skip
def test_p_is_never_rounded_across_the_level(p: float, text: str) -> None:
    assert p_value(p) == text


def test_intervals_as_text() -> None:
    assert interval(Estimate(0.012, 0.004, 0.020, 5)) == "0.0120 [0.0040, 0.0200]"
    assert interval(Estimate(-0.012, -0.020, -0.004, 5), -1.0) == "0.0120 [0.0040, 0.0200]"
    assert interval(Estimate(0.1, 0.0001, 0.2, 5)) == "0.10000 [0.00010, 0.20000]"
    assert interval(Estimate(0.25, None, None, 1)) == "0.25"
    assert interval(Estimate(1234.5, 1200.0, 1269.0, 5)) == "1,234 [1,200, 1,269]"
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(["a"]) == "a" and listed([]) == ""


@pytest.mark.parametrize(("rows", "word"), [(20, "undecided"), (298, "undecided"), (299, "equivalent")])
def test_rows_that_do_not_differ_show_equivalence_only_where_they_are_many(rows: int, word: str) -> None:
    """Of N rows without a difference up to 1 - 0.05^(1/N) of others may have one: 0.01 at 299 rows."""
    found = compared(
        np.zeros(5), np.random.default_rng(0), correction=Correction("Holm", "paired t", 1), margin=0.01,
        p_equivalent=tost(np.zeros(5), 0.01), items=Estimate(0.0, None, None, rows),
    )  # fmt: skip
    said, sentence = conclude(found)
    assert said == word and "exact one-sided sign flips, n = 5, p = 0.031" in sentence
    assert ("so this is not shown for others" in sentence) == (word == "undecided")


def test_differences_without_spread_name_the_test_that_they_had() -> None:
    up = compared(np.full(6, 0.25), np.random.default_rng(0), correction=Correction("Holm", "paired t", 1), mode="max",
                  p_adjusted=2.0**-5, items=None, margin=None, p_equivalent=None)  # fmt: skip
    assert conclude(up) == ("better", "A is better than B by 0.25 in accuracy (exact sign flips, n = 6, p = 0.031).")


@pytest.mark.parametrize(
    ("wins", "n", "mode", "said"),
    [
        (20, 20, "max", "It is better on 100 % of 20 seeds [83.2, 100.0]: significant and meaningful"),
        (20, 20, "min", "It is worse on 100 % of 20 seeds [83.2, 100.0]: significant and meaningful"),
        (60, 100, "max", "It is better on 60 % of 100 seeds [49.7, 69.7]: by this share alone not significant"),
        (63, 100, "max", "It is better on 63 % of 100 seeds [52.8, 72.4]: significant, not meaningful"),
    ],
)  # fmt: skip
def test_from_twenty_seeds_on_the_share_of_seeds_is_judged(wins: int, n: int, mode: str, said: str) -> None:
    """Bouthillier et al. 2021, gamma = 0.75, with the interval of scipy."""
    share = stats.binomtest(wins if mode == "max" else n - wins, n).proportion_ci(method="exact")
    shared = Estimate((wins if mode == "max" else n - wins) / n, share.low, share.high, n)
    found = compared(
        np.linspace(0.9, 1.1, n), np.random.default_rng(0), mode=mode, p_adjusted=1e-4, items=None, margin=None,
        p_equivalent=None, outperforms=shared,
    )  # fmt: skip
    word, sentence = conclude(found)
    assert word == ("better" if mode == "max" else "worse") and said in sentence
    undecided = conclude(dataclasses.replace(found, p_adjusted=0.6))[1]
    assert f"{100 * shared.value:.0f} % of {n} seeds" in undecided and "significant" not in undecided
    assert "seeds [" not in conclude(dataclasses.replace(found, difference=Estimate(1.0, 0.9, 1.1, 19)))[1]
