"""What a sentence claims is what the intervals allow."""

from dataclasses import replace

import numpy as np
import pytest

from finelab.callbacks.evidence.estimate import Estimate
from finelab.callbacks.evidence.facts import gather
from finelab.callbacks.evidence.judge import judge
from finelab.callbacks.evidence.settings import Settings
from finelab.callbacks.evidence.wording import sentence

TIME = np.linspace(0.05, 1, 20)
FALL = 0.3 + 1.2 * np.exp(-8 * TIME)
RISE = FALL + 0.6 * np.maximum(TIME - 0.3, 0)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (0.044, "would be worth mentioning (0.018), but is not beyond chance at the level of this look"),
        (0.1, "cannot exclude a loss worth mentioning (0.018)"),
    ],
)
def test_a_loss_above_what_matters_is_not_said_to_be_unexcluded(error: float, says: str, series) -> None:
    facts = gather(series(RISE, FALL), Settings(), None)
    given = replace(facts.given, estimate=Estimate(0.131, error, 199.0, 200))
    text = sentence("loss unclear", replace(facts, given=given, worth=0.018), Settings())
    assert says in text and "[" in text


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (-0.045, 0.036, "these rows cannot tell whether it fell too."),
        (0.001, 0.002, "leaves no room for a fall by 0.01: the loss is one of confidence."),
        (-0.1, 0.01, "Accuracy fell by 0.100 as well"),
    ],
)
def test_accuracy_that_did_not_surely_fall_is_not_said_to_stand(value: float, error: float, says: str, series) -> None:
    facts = gather(series(RISE, FALL), Settings(), None)
    text = sentence("overfitting", replace(facts, accuracy=Estimate(value, error, 199.0, 200)), Settings())
    assert says in text


def test_the_best_weights_have_no_change_against_themselves(series) -> None:
    verdict = judge(series(FALL, FALL, wander=0.0))
    assert verdict.missing["accuracy change"] == "the last weights are the best"
    assert "accuracy change" not in [each.name for each in verdict.evidence]
