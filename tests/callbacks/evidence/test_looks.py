import math

import pytest
from scipy.stats import norm

from finelab.callbacks.evidence.looks import level


@pytest.mark.parametrize("planned", [1, 5, 40])
def test_the_looks_of_a_run_spend_alpha_in_all(planned: int) -> None:
    spent = [level(0.05, look, planned, finished=False) for look in range(1, planned + 1)]
    assert sum(spent) == pytest.approx(0.05)
    assert all(x >= 0 for x in spent)
    assert sum(spent[: planned // 2]) <= 0.006, "O'Brien and Fleming: 2 (1 - Phi(1.96 / sqrt(1/2))) = 0.0056"


def test_values_of_the_spending_function() -> None:
    """Lan and DeMets: alpha(t) = 2 - 2 Phi(z_{alpha/2} / sqrt t)."""
    z = norm.isf(0.025)
    assert level(0.05, 1, 4, False) == pytest.approx(2 * norm.sf(z / 0.5))
    assert level(0.05, 2, 4, False) == pytest.approx(2 * norm.sf(z / math.sqrt(0.5)) - 2 * norm.sf(z / 0.5))


def test_the_end_of_a_run() -> None:
    assert level(0.05, 20, 20, True) == level(0.05, 19, 20, True) == 0.05
    assert level(0.05, 5, 20, True) == pytest.approx(0.0375), "stopped early, perhaps because of what was seen"
    assert level(0.05, 7, 0, True) == pytest.approx(0.0375), "without a plan nobody knows"


def test_without_a_plan_every_look_has_a_share() -> None:
    assert sum(level(0.05, look, 0, False) for look in range(1, 20_000)) == pytest.approx(0.05, rel=1e-3)
