"""What each regularizer adds to a training step: for the measurement and for the page that shows it.

One forward is the unit. A step of full fine-tuning is a forward and a backward of two (gradients of activations and of
weights), 3 in all; LoRA on a frozen base needs no weight gradients, so that its backward is one and its step 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finelab.models import regularizers as methods

BACKWARD = {"Full": 2, "LoRA": 1}
"""In forwards."""

LIMIT = 1.10
"""Measured over theoretical ratio above which a reason is due; and one over it, below which one is due as well."""


@dataclass(frozen=True)
class Cost:
    """One row.

    Args:
        make: the method at a strength that acts.
        mechanism: what it changes, in a few words.
        objective: what is minimised, or how the gradient is changed.
        forwards: extra ones per micro-batch.
        backwards: extra ones per micro-batch.
        memory: beyond plain training.
        beside: what else costs time, which the theoretical ratio leaves out.
        needs_base: compares with what the base predicts, which a new head has not.
        full_only: says nothing on LoRA.
    """

    make: Callable[[], Any]
    mechanism: str
    objective: str
    forwards: int = 0
    backwards: int = 0
    memory: str = "none"
    beside: str = ""
    needs_base: bool = False
    full_only: bool = False

    def theory(self, adapter: str) -> float:
        """Step time relative to plain training."""
        step = 1 + BACKWARD[adapter]
        return (step + self.forwards + self.backwards * BACKWARD[adapter]) / step


COSTS = {
    "LabelSmoothing": Cost(
        lambda: methods.LabelSmoothing(0.1),
        "loss term",
        "(1 - ε) NLL + ε · mean NLL over the V labels",
        memory="chunks",
        beside="one more pass over the logits",
    ),
    "NEFTune": Cost(
        lambda: methods.NEFTune(5.0),
        "embedding noise",
        "NLL at e + α / √(L d) · U(-1, 1)",
        memory="the embedded text once more",
    ),
    "Mixout": Cost(
        lambda: methods.Mixout(0.5),
        "weights replaced in the forward",
        "NLL at u + M (w - u) / (1 - p), one M per input feature and forward",
        memory="a float32 copy of the mixed weights, and the mixed weights until the backward; none on LoRA",
        beside="three passes over each mixed weight, whatever the number of tokens",
    ),
    "RDrop": Cost(
        lambda: methods.RDrop(1.0),
        "second forward",
        "½ (NLL₁ + NLL₂) + α/2 · ½ (KL(p₁‖p₂) + KL(p₂‖p₁))",
        forwards=1,
        backwards=1,
        memory="activations twice",
    ),
    "KLToBase": Cost(
        lambda: methods.KLToBase(0.1),
        "reference forward",
        "NLL + β KL(p₀‖p), or β KL(p‖p₀)",
        forwards=1,
        memory="the base's logits; a copy of the trainable weights where the adapter cannot be switched off",
        beside="two softmaxes of each chunk of logits, forward and backward",
        needs_base=True,
    ),
    "L2SP": Cost(
        lambda: methods.L2SP(0.01),
        "weight penalty",
        "+ α/2 ‖θ - θ₀‖² + β/2 ‖θ_new‖²; on adapters ‖ΔW - ΔW₀‖²",
        memory="a float32 copy of the trainable weights, and once their differences; next to none on LoRA",
        beside="about four passes over the trainable weights once an optimizer step, whatever the number of tokens",
    ),
    "ChildTuning (F)": Cost(
        lambda: methods.ChildTuning(0.3),
        "gradient mask, anew in each step",
        "g ← g ⊙ M / p; where M = 0 the weight stays",
        memory="two copies of the trainable weights",
        beside="a random number for each trainable weight and about six passes over them, once an optimizer step",
    ),
    "ChildTuning (D)": Cost(
        lambda: methods.ChildTuning(0.3, mode="D", rows=8),
        "gradient mask by Fisher information",
        "g ← g ⊙ M; where M = 0 the weight stays",
        memory="two copies of the trainable weights",
        beside="one forward and backward of each of `rows` rows before the first step (not in the table); about six "
        "passes over the trainable weights once an optimizer step",
        full_only=True,
    ),
    "SAM": Cost(
        lambda: methods.SAM(0.05),
        "second pass over the window",
        "gradient of J at w + ρ g / ‖g‖",
        forwards=1,
        backwards=1,
        memory="a copy of the trainable weights; the window's batches",
    ),
    "FreeLB": Cost(
        lambda: methods.FreeLB(3),
        "several ascent passes",
        "mean of J(X + δ_t) over K = 3 passes, ascending δ in between",
        forwards=2,
        backwards=2,
        memory="a copy of the gradient; the window's batches, and their embedded text twice",
        beside="in each pass a copy and a sum of the gradient of every trainable weight, the delta's scatter into the "
        "embedded text and its gradient's gather, and norms over each sequence",
    ),
}


def outside(wall: float, theory: float) -> str:
    """On which side of the limits a ratio is; empty within them."""
    if wall > LIMIT * theory:
        return "above"
    return "below" if wall < theory / LIMIT else ""
