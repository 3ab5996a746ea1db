import math

import pytest

from finelab.callbacks.stopping import UP, Curve
from finelab.contracts.errors import UserError


def stops(errors, strips: int, k: int, **options) -> list[int]:
    counts = range(1, len(errors) + 1)
    return [count for count in counts if UP(strips, k).judge(Curve(errors[:count], **options)).stops]


def defined(errors, s: int, k: int, t: int) -> bool:
    """Prechelt's definition as it stands, t counted from 1: UP_s stops after t if UP_(s-1) does after t - k."""
    if t % k or t < 2 * k or not errors[t - 1] > errors[t - k - 1]:
        return False
    return s == 1 or defined(errors, s - 1, k, t - k)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_it_is_the_definition(s) -> None:
    errors = [((7 * i * i + 3 * i) % 11) + 0.2 * i for i in range(60)]
    for k in (1, 2, 5):
        assert stops(errors, s, k) == [t for t in range(1, 61) if defined(errors, s, k, t)]
    assert stops(errors, s, 2), "or nothing is compared"


def test_single_rises_are_not_strips() -> None:
    """Eight rises in succession within two strips are one rise of a strip (erratum E13)."""
    errors = [9, 1, 2, 3, 4, 5, 6, 7, 8, 8.5, 8.4, 8.3, 8.2, 8.1, 8.0]
    assert stops(errors, 1, 5) == [10]
    assert stops(errors, 2, 5) == []
    zigzag = [5, 1, 5, 1, 2, 6, 1, 6, 1, 3, 7, 1, 7, 1, 4]
    assert stops(zigzag, 2, 5) == [15], "strip by strip it rises, however it moves in between"


def test_a_rise_within_the_noise_does_not_count() -> None:
    errors = [1, 1.1, 1.3, 1.6]
    assert stops(errors, 2, 1) == [3, 4]
    assert stops(errors, 2, 1, noise=lambda newer, older: 0.15) == [4]
    assert stops(errors, 2, 1, min_delta=0.25) == []


def test_an_undefined_error_ends_the_series() -> None:
    assert stops([1, 2, math.nan, 3, 4], 2, 1) == []
    assert stops([1, 2, 3], 2, 1) == [3]


def test_negative_errors_will_do() -> None:
    assert stops([-0.9, -0.8, -0.7], 2, 1) == [3], "an accuracy that falls"


@pytest.mark.parametrize("options", [{"strips": 0}, {"k": 0}, {"k": -1}], ids=["strips 0", "k 0", "k -1"])
def test_what_no_run_could_be_judged_by_is_refused(options) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} (is|{next(iter(options.values()))})"):
        UP(**options)
