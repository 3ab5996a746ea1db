import numpy as np
import pytest
from scipy import optimize, stats

from finelab.studies.statistics.interval import Interval
from finelab.studies.statistics.learning_curve import Flat, NoFit, PowerLaw, fit_power_law, flat_from, predicted

SIZES = np.array([100, 200, 400, 800, 1600.0])
X = SIZES / SIZES[-1]


def law(a: float, b: float, c: float, noise: float = 1e-4, n: int = 5, seed: int = 0) -> np.ndarray:
    """[K][n]"""
    return (a - b * X**-c)[:, None] + np.random.default_rng(seed).normal(0, noise, (len(X), n))


def fitted(values: np.ndarray, mode: str = "max") -> PowerLaw:
    found = fit_power_law(SIZES, values, mode)
    assert isinstance(found, PowerLaw)
    return found


def holds(interval: Interval, value: float) -> bool:
    return (interval.low is None or interval.low <= value) and (interval.high is None or value <= interval.high)


@pytest.mark.parametrize(("b", "c"), [(0.03, 0.5), (0.02, 1.0), (0.002, 2.0)])
def test_recovers_a_clear_curve(b: float, c: float) -> None:
    found = fitted(law(0.9, b, c))
    assert (found.a.value, found.c.value) == pytest.approx((0.9, c), rel=0.05)
    assert found.b.value == pytest.approx(b, rel=0.05) and found.misfit < 3e-4 and found.limit_identified
    flat = flat_from(found, 0.01)
    assert flat.reference == "limit" and flat.size.value == pytest.approx((b / 0.01) ** (1 / c) * 1600, rel=0.05)


def test_is_scipys_least_squares() -> None:
    values = law(0.9, 0.03, 0.7, 0.003)
    found = fitted(values)
    theirs = optimize.curve_fit(lambda x, a, b, c: a - b * x**-c, X, values.mean(1), p0=(0.9, 0.03, 0.5))[0]
    assert (found.a.value, found.b.value, found.c.value) == pytest.approx(tuple(theirs), rel=2e-3)


def test_the_intervals_are_those_of_a_linear_model_where_noise_is_small() -> None:
    """The delta method over replicates: J (J'J)^-1 times each curve, then Student's t."""
    values = law(0.9, 0.03, 0.7, 1e-5)
    found = fitted(values)
    a, b, c = found.a.value, found.b.value, found.c.value
    jacobian = np.stack([np.ones(5), -(X**-c), b * X**-c * np.log(X)], 1)
    each = np.linalg.lstsq(jacobian, values - (a - b * X**-c)[:, None], rcond=None)[0]
    for row, interval in zip(each, (found.a, found.b, found.c), strict=True):
        half = stats.t.ppf(0.975, 4) * row.std(ddof=1) / 5**0.5
        assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)
    size = flat_from(found, 0.01).size
    moved = each[1] / (b * c) - np.log(b / 0.01) / c**2 * each[2]  # of log((b / margin)^(1 / c))
    half = stats.t.ppf(0.975, 4) * moved.std(ddof=1) / 5**0.5
    assert np.log(size.high / size.low) == pytest.approx(2 * half, rel=0.05)
    there = predicted(found, 300)
    x = 300 / 1600
    moved = each[0] - x**-c * each[1] + b * x**-c * np.log(x) * each[2]
    assert there.high - there.low == pytest.approx(2 * stats.t.ppf(0.975, 4) * moved.std(ddof=1) / 5**0.5, rel=0.05)


def test_a_loss_is_a_score_upside_down() -> None:
    values = law(0.9, 0.03, 0.5, 0.002)
    up, down = fitted(values), fitted(-values, "min")
    assert (down.a.value, down.a.low, down.a.high) == pytest.approx((-up.a.value, -up.a.high, -up.a.low))
    assert down.c == up.c and flat_from(down, 0.01) == flat_from(up, 0.01)
    assert predicted(down, 300).high == pytest.approx(-predicted(up, 300).low)


def test_units_of_size_do_not_matter() -> None:
    values = law(0.9, 0.03, 0.5, 0.002)
    tokens = fit_power_law(SIZES * 17, values, "max")
    assert isinstance(tokens, PowerLaw) and tokens.c == fitted(values).c
    found, ours = flat_from(tokens, 0.01).size, flat_from(fitted(values), 0.01).size
    assert (found.value, found.low, found.high) == pytest.approx((17 * ours.value, 17 * ours.low, 17 * ours.high))


def test_an_unbounded_curve_is_measured_against_its_largest_size() -> None:
    rising = (0.5 + 0.05 * np.log(X))[:, None] + np.random.default_rng(1).normal(0, 0.004, (5, 5))
    found = fitted(rising)
    assert not found.limit_identified and found.c.low is None
    flat = flat_from(found, 0.02)
    assert flat.reference == "largest size"
    assert flat.size.value == pytest.approx(1600 * np.exp(-0.02 / 0.05), rel=0.1)
    assert flat.size.low < flat.size.value < flat.size.high <= 1600


def test_a_curve_that_is_flat_all_along_says_the_smallest_size() -> None:
    assert flat_from(fitted(law(0.9, 0.0005, 0.5)), 0.05) == Flat(Interval(100, 100, 100, 5), "limit")


@pytest.mark.parametrize(
    ("sizes", "values", "said"),
    [
        ([100, 200, 400], [[0.1, 0.2], [0.3, 0.4], [0.4, 0.5]], "3 sizes are too few"),
        ([1, 2, 3, 4], [[0.1], [0.2], [0.3], [0.4]], "one replicate"),
        ([1, 2, 3, 4], [[0.5, 0.4], [0.2, 0.3], [0.3, 0.3], [0.4, 0.4]], "does not improve from 1 to 4"),
        ([1, 2, 3, 4], [[0.1, 0.101], [0.5, 0.501], [0.3, 0.3011], [0.6, 0.6]], "falls from 2 to 3"),
    ],
)
def test_says_why_there_is_no_fit(sizes: list[float], values: list[list[float]], said: str) -> None:
    found = fit_power_law(sizes, values, "max")
    assert isinstance(found, NoFit) and said in found.reason


def test_covers() -> None:
    """Noise that replicates share between sizes, and noise that they do not."""
    generator, hits, studies = np.random.default_rng(2), np.zeros(3), 40
    for _ in range(studies):
        noise = 0.005 * (generator.normal(size=(5, 5)) + generator.normal(size=(1, 5)))
        found = fitted((0.9 - 0.02 / X)[:, None] + noise)
        hits += holds(found.a, 0.9), holds(found.c, 1.0), holds(flat_from(found, 0.01).size, 3200)
    assert all(stats.binomtest(int(each), studies, 0.95).pvalue > 0.001 for each in hits)
