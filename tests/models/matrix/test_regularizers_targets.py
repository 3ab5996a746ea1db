"""Every regularizer on every other kind of target: it trains and acts, or is refused by name."""

import functools

import pytest
import torch

from finelab.contracts.errors import UserError

from .. import made_up_targets as made
from .regularizer_runs import SGD, Run, run
from .regularizer_table import ON_LORA

KINDS = [kind for kind in made.KINDS if kind not in ("class", "causal")]  # those two: the other files
HEADED = [kind for kind in KINDS if kind != "seq2seq"]
REFUSED = {("KLToBase", kind): "a new head has no base" for kind in HEADED} | {
    ("LabelSmoothing", "regression"): "a number has no uniform distribution over its labels"
}
cases = [(name, kind) for name in ON_LORA for kind in KINDS]
slow = [pytest.param(*case, marks=[] if case[1] == "seq2seq" else pytest.mark.slow) for case in cases]


def trained(kind: str, methods=()) -> Run:
    module = made.model(kind, SGD, made.lora(lora_dropout=0.1), regularizers=list(methods))
    return run(module, made.loader(kind, 4), masks=False)


@functools.cache
def plain(kind: str) -> Run:
    return trained(kind)


@pytest.mark.parametrize(("name", "kind"), slow)
def test_a_method_acts_on_every_target_or_is_refused(name, kind):
    row = ON_LORA[name]
    if (name, kind) in REFUSED:
        with pytest.raises(UserError, match=row.kind):
            trained(kind, [row.real()])
        return
    found = trained(kind, [row.real()])
    assert found.weights.isfinite().all()
    assert (found.weights - plain(kind).weights).abs().max() > 1e-7
    assert torch.equal(trained(kind, [row.neutral()]).weights, plain(kind).weights)
