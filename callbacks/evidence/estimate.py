"""A number with its error."""

from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, over units that were drawn independently.

    Args:
        value: what was measured.
        error: its standard error.
        freedom: degrees of freedom of that error.
        units: rows, or documents where rows of one document are not independent.
    """

    value: float
    error: float
    freedom: float
    units: int

    @property
    def p_above(self) -> float:
        """Of seeing so large a value where the truth is 0: Student's t, one-sided."""
        if not self.error > 0:
            return 0.0 if self.value > 0 else 1.0
        return float(stats.t.sf(self.value / self.error, self.freedom))

    @property
    def p_below(self) -> float:
        """Of seeing so small a value where the truth is 0."""
        return (-self).p_above

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided."""
        reach = self.error * float(stats.t.ppf(0.5 + level / 2, self.freedom)) if self.error > 0 else 0.0
        return self.value - reach, self.value + reach

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value, self.error, self.freedom, self.units)

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, self.error * abs(factor), self.freedom, self.units)


def joined(value: float, one: Estimate, other: Estimate, correlation: float = 0.0) -> Estimate:
    """A sum or difference of two estimates; degrees of freedom after Welch and Satterthwaite."""
    first, second = one.error**2, other.error**2
    total = first + second
    freedom = total**2 / (first**2 / one.freedom + second**2 / other.freedom) if total > 0 else one.freedom
    error = (total + 2 * correlation * one.error * other.error) ** 0.5
    return Estimate(value, error, freedom, one.units + other.units)
