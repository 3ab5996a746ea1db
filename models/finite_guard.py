"""The last look at an optimizer step before it moves a weight."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .non_finite_error import NonFiniteError
from .stack import Named, overrides
from .window import Window

NamedParameter = tuple[str, nn.Parameter]
MOST_NAMED = 64
"""Sample ids that a message lists."""
LEAST_SCALE = 1.0
"""Float16 loss scaling halves its scale at every infinite gradient; at this one it is not the scale that overflows."""


@dataclass(frozen=True)
class FiniteGuard:
    """Stops a step whose loss or gradient is not finite. Everything it looks at is alike on all ranks, but for the
    gradient of a window ``alone``.

    Args:
        window: the step's sums, reduced.
        step: optimizer steps taken so far.
        rate: learning rate of this step.
        stack: the methods, to find out whose fault it was.
    """

    window: Window
    step: int
    rate: float
    stack: Sequence[Named]

    def losses(self) -> None:
        """Raises:
        NonFiniteError: names the term and the samples of the micro-batches, of all ranks, in which it is not finite.
        """
        bad = [name for name, value in self.window.means.items() if not math.isfinite(value)]
        if not bad:
            return
        terms = [f"reg/{name}" for name in self.window.shown_means()]
        if "nll" in bad:
            what = "nll"
        elif own := [f"reg/{name}" for name in bad if name != "total"]:
            what = own[0]
        else:
            what = f"the sum of nll and the terms of {', '.join(terms)}"
        raise self.stopped(what, self.window.bad_samples(), "in the batch of")

    def parameter_terms(self, additions: float) -> None:
        """Raises:
        NonFiniteError: names the term of the weights, which no batch has made so.
        """
        if math.isfinite(additions):
            return
        bad = [name for name, method in self.stack if (term := method.parameter_term()) and not finite(term.addition)]
        raise self.stopped(f"reg/{bad[0]}, a term of the weights,", self.window.samples(), "in the step of")

    def gradient(self, norm: Tensor, scaler: torch.amp.GradScaler | None, named: Iterable[NamedParameter]) -> None:
        """Under float16 loss scaling an infinite gradient is normal: the scaler skips its step and lowers the scale.

        Args:
            norm: of the whole gradient before clipping.
            scaler: of the loss, where it is scaled.
            named: the module's parameters.

        Raises:
            NonFiniteError: names what the gradient is of.
        """
        if finite(norm) or (scaler is not None and scaler.get_scale() > LEAST_SCALE):
            return
        raise self.stopped(self.culprit(list(named)), self.window.samples(), "in the step of")

    def culprit(self, named: Sequence[NamedParameter]) -> str:
        """What the gradient is of. Asked once training has stopped, so that looking may cost something."""
        trained = [(name, p) for name, p in named if p.requires_grad]
        for name, method in self.stack:
            if (term := method.parameter_term()) is not None:
                own = torch.autograd.grad(term.addition, [p for _, p in trained], allow_unused=True)
                if not all(finite(gradient) for gradient in own if gradient is not None):
                    return f"the gradient of reg/{name}"
        shapers = [name for name, method in self.stack if overrides(method, "shape_gradients")]
        after = f", after {' and '.join(shapers)} shaped it," if shapers else ""
        bad = [name for name, p in trained if p.grad is not None and not finite(p.grad)]
        if not bad:
            return f"the norm of the gradient{after} (each entry is finite and their squares overflow)"
        others = f" and {len(bad) - 1} other parameters" if len(bad) > 1 else ""
        return f"the gradient of the objective{after} at {bad[0]}{others}"

    def stopped(self, what: str, samples: list[list[int]], where: str) -> NonFiniteError:
        return NonFiniteError(
            f"Training stopped before the update of optimizer step {self.step + 1}: {what} is not finite, {where} "
            f"{listed(samples)}. The learning rate was {self.rate:.3g}; the weights are those before this step. Look "
            "at these rows, lower model.init_args.optimizer.init_args.lr, or set trainer.gradient_clip_val."
        )


def listed(samples: list[list[int]]) -> str:
    """Sample ids of each rank, as many as a message can hold."""
    count, left, parts = sum(map(len, samples)), MOST_NAMED, []
    for rank, ids in enumerate(samples):
        if ids and left:
            parts.append(f"{ids[:left]}" + (f" of rank {rank}" if len(samples) > 1 else ""))
            left -= len(ids[:left])
    more = f" and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
    return f"samples (sample_id) {' and '.join(parts)}{more}" if parts else "samples without a sample_id"


def finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())
