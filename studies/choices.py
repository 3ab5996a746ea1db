"""What results have decided about a study's cells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choices:
    """Nothing at the start of a study.

    Args:
        trials: (arm, task) -> the trial that its reported, noise and confirmation cells use, 0 for its default; an arm
            whose search is not over is missing. Without a search it is empty, and every arm uses its default.
        settings: (arm, task) -> the settings of its trials so far, in their order, of a sampler that learns from
            results; configuration key -> value. Empty of others, whose settings are known from the start.
        confirmed: arms that are run once more on fresh seeds; empty until all reported cells are over.
    """

    trials: Mapping[tuple[str, str | None], int] = field(default_factory=dict)
    settings: Mapping[tuple[str, str | None], tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    confirmed: tuple[str, ...] = ()
