"""Every two regularizers on LoRA: they train together and both act, or they are refused with both names."""

import functools
from itertools import combinations_with_replacement

import pytest
import torch

from finelab.contracts.errors import UserError

from .regularizer_runs import Run, rows, run, tuner
from .regularizer_table import ON_LORA, REFUSED


def trained(task: str, stack) -> Run:
    return run(tuner(task, stack), rows(task, 2), accumulate=2, masks=True)


@functools.cache
def alone(task: str, name: str | None = None) -> Run:
    return trained(task, [ON_LORA[name].real()] if name else [])


def pairs() -> list[tuple[str, str]]:
    """Two of a kind too; in the order of the table, and in both orders those that shape the gradient."""
    found = list(combinations_with_replacement(ON_LORA, 2))
    return found + [(b, a) for a, b in found if a != b and ON_LORA[a].shapes and ON_LORA[b].shapes]


def composes(task: str, pair) -> bool:
    return frozenset(pair) not in REFUSED and all(task in ON_LORA[name].tasks for name in pair)


allowed = [pair for pair in pairs() if composes("lm", pair)]
refused = [pair for pair in pairs() if frozenset(pair) in REFUSED]


def joined(pair) -> str:
    return "-".join(pair)


@pytest.mark.parametrize("pair", allowed, ids=joined)
def test_both_of_a_pair_act(pair, task="lm"):
    """The result is neither that of the first alone nor that of the second; first masks are those of the baseline."""
    found = trained(task, [ON_LORA[name].real() for name in pair])
    assert found.weights.isfinite().all()
    for name in pair:
        assert (found.weights - alone(task, name).weights).abs().max() > 1e-7, f"nothing beyond {name}"
    shown = {f"reg/{ON_LORA[name].kind}" for name in pair if ON_LORA[name].logged}
    assert shown <= set(found.logged[-1])
    found.masks.require_first_masks_of(alone(task).masks)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in pairs() if composes("class", pair)], ids=joined)
def test_both_of_a_pair_act_on_an_encoder(pair):
    test_both_of_a_pair_act(pair, "class")


@pytest.mark.slow
@pytest.mark.parametrize("pair", allowed, ids=joined)
def test_a_neutral_neighbour_changes_nothing(pair):
    """Bit for bit, on either side in the list."""
    acting, neutral = (ON_LORA[name] for name in pair)
    for one, other in ((acting, neutral), (neutral, acting)):
        expected = alone("lm", one.name).weights
        for stack in ([one.real(), other.neutral()], [other.neutral(), one.real()]):
            assert torch.equal(trained("lm", stack).weights, expected)


@pytest.mark.parametrize("pair", refused, ids=joined)
def test_a_pair_that_cannot_compose_is_refused_with_both_names(pair):
    one, other = (ON_LORA[name] for name in pair)
    for stack in ([one.real(), other.real()], [other.real(), one.real()]):
        with pytest.raises(UserError) as caught:
            tuner("lm", stack).configure_model()
        assert one.kind in str(caught.value)
        assert other.kind in str(caught.value)


def test_all_neutral_methods_together_are_the_baseline():
    found = trained("lm", [row.neutral() for row in ON_LORA.values()])
    assert torch.equal(found.weights, alone("lm").weights)
    assert all(torch.equal(*pair) for pair in zip(found.states, alone("lm").states, strict=True))
