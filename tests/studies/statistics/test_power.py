import numpy as np
import pytest
from scipy import integrate, stats

from finelab.studies.statistics.power import detectable_effect, needed_replicates, power

REPLICATES = (3, 5, 8, 10, 20)
TABLE = {
    0.5: (0.08, 0.14, 0.23, 0.29, 0.56),
    0.8: (0.13, 0.28, 0.50, 0.62, 0.92),
    1.0: (0.18, 0.40, 0.68, 0.80, 0.99),
    1.5: (0.32, 0.71, 0.95, 0.99, 1.00),
    2.0: (0.47, 0.91, 1.00, 1.00, 1.00),
    3.0: (0.75, 1.00, 1.00, 1.00, 1.00),
}


@pytest.mark.parametrize("effect", TABLE)
def test_table_of_the_paired_t_test(effect: float) -> None:
    assert [power(effect, n) for n in REPLICATES] == pytest.approx(TABLE[effect], abs=0.0051)


@pytest.mark.parametrize(("effect", "n"), [(0.0, 2), (0.5, 3), (1.0, 10), (-2.0, 5), (8.0, 2), (0.1, 100)])
def test_is_the_probability_of_a_large_t(effect: float, n: int) -> None:
    """Given s, the mean is normal; integrated over the chi distribution of s."""
    critical, freedom = stats.t.ppf(0.975, n - 1), n - 1

    def rejected(s: float) -> float:
        mean = effect * n**0.5
        return float(stats.norm.sf(critical * s, mean) + stats.norm.cdf(-critical * s, mean))

    chi = stats.chi(freedom, scale=freedom**-0.5)
    expected = integrate.quad(lambda s: rejected(s) * chi.pdf(s), 0, 10, limit=200, points=[0.5, 1.0])[0]
    assert power(effect, n) == pytest.approx(expected, abs=1e-7)


def test_no_effect_has_the_power_of_the_level() -> None:
    assert [power(0, n) for n in (2, 5, 50)] == pytest.approx([0.05] * 3) and power(5, 1) == 0.0
    assert power(1, 5, alpha=0.01) < power(1, 5)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 100])
def test_detectable_effect_has_that_power(n: int) -> None:
    assert power(detectable_effect(n), n) == pytest.approx(0.8)
    assert power(detectable_effect(n, power=0.5, alpha=0.01), n, 0.01) == pytest.approx(0.5)
    assert detectable_effect(1) is None


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0, 2.0, -1.0])
def test_needed_replicates_are_the_fewest(effect: float) -> None:
    n = needed_replicates(effect)
    assert n is not None and power(effect, n) >= 0.8 > power(effect, n - 1)


def test_needed_replicates_as_everywhere_published() -> None:
    assert needed_replicates(0.5) == 34 and needed_replicates(1.0) == 10  # Cohen 1988
    assert needed_replicates(0.0) is None and needed_replicates(10.0) == 3
    assert np.isclose(detectable_effect(34), 0.5, atol=0.01)
