"""A strength that is no number, or one of the wrong sign, is refused where it is given."""

import math

import pytest

from finelab.contracts.errors import UserError
from finelab.models import layer_decay, lora_plus, regularizers

STRENGTHS = [
    (regularizers.ChildTuning, "p"),
    (regularizers.FreeLB, "step_size"),
    (regularizers.FreeLB, "init"),
    (regularizers.FreeLB, "epsilon"),
    (regularizers.KLToBase, "weight"),
    (regularizers.L2SP, "weight"),
    (regularizers.L2SP, "head_weight"),
    (regularizers.LabelSmoothing, "epsilon"),
    (regularizers.Mixout, "p"),
    (regularizers.NEFTune, "alpha"),
    (regularizers.RDrop, "weight"),
    (regularizers.SAM, "rho"),
    (regularizers.SAM, "eta"),
    (layer_decay.LayerDecay, "rate"),
    (lora_plus.LoraPlus, "ratio"),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0], ids=str)
@pytest.mark.parametrize(("method", "argument"), STRENGTHS, ids=lambda part: getattr(part, "__name__", part))
def test_is_refused(method, argument, value):
    with pytest.raises(UserError, match=f"{method.__name__}.*{argument}={value}"):
        method(**{argument: value})
