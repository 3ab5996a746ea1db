"""FreeLB: adversarial embeddings whose ascent passes all train (Zhu et al., ICLR 2020, arXiv:1909.11764)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...contracts.batch import Batch
from ...contracts.errors import UserError
from .embedding import EmbeddedText, Tokens
from .regularizer import Regularizer, Replay, forward_generator, forward_seed

TINY = 1e-12
"""Least norm that is divided by: a sequence without a gradient stays where it is."""


@dataclass
class Delta:
    """What is added to the embedded text of one forward.

    Args:
        values: [n, d] float32, a leaf; its gradient is the last pass's.
        tokens: where the n real tokens stand, and the sequence of each.
    """

    values: Tensor
    tokens: Tokens


class FreeLB(Regularizer):
    """Objective: the mean over K passes of J(X + delta_t), X the input embeddings, where after each pass

        delta_{t+1} = P(delta_t + step_size * g_t / |g_t|),    delta_0 = U(-1, 1) * init / sqrt(L d)

    g_t is J's gradient in delta_t, the norm is the Frobenius norm over one sequence of L real tokens of width d, and P
    projects onto |delta| <= epsilon. A sequence is a row without its pads, a sample of a packed row, or a choice of a
    multiple choice; each has its own ball. Virtual tokens of a prompt tuner stay as they are.

    K counts all forward and backward passes of a step, as the authors' Hugging Face code does (their fairseq
    code runs one more). All K passes see the same dropout masks, and their gradients are averaged. The first pass
    is the step's own: ``train/loss`` is its value, and ``reg/FreeLB`` how much higher the last one's is, in nats.

    Shaping nests in list order: [FreeLB, SAM] is SAM of this averaged gradient, with K ascent passes at each of
    its two points; [SAM, FreeLB] averages SAM gradients, and ascends along the one at the perturbed weights. R-Drop's
    second forward has a delta of its own. Embeddings may be frozen.

    Extra cost: K - 1 forwards and backwards, so K times the step time. Memory: the embedded text of the whole window
    twice in float32, a second copy of the gradient, and the window's batches until the update. ``torch.compile``
    splits its graph at the embedding. Hurts where the text is noisy already; with bfloat16 weights (not autocast) a
    delta below the rounding of the embeddings vanishes. K = 1 is noise without ascent, and with init 0 plain training.

    The defaults are those of the authors' launch script for MNLI with RoBERTa-large, whose 2 ascent steps are 3 passes.
    Their other GLUE tasks use 3 or 4 passes, step_size .025 to .2, init .15 to 1 and epsilon .15 to .7.

    Args:
        steps: K.
        step_size: alpha of the paper, adv_lr in its code.
        init: a_0, the size of the first delta before any ascent; adv_init_mag.
        epsilon: radius of each sequence's ball, adv_max_norm; None does not project.

    Raises:
        UserError: a number out of its range.
    """

    def __init__(self, steps: int = 3, step_size: float = 0.1, init: float = 0.1, epsilon: float | None = 0.3) -> None:
        sizes = (step_size, init, *([] if epsilon is None else [epsilon]))
        if steps < 1 or not all(0 <= size < math.inf for size in sizes) or epsilon == 0:
            raise UserError(
                f"FreeLB(steps={steps}, step_size={step_size}, init={init}, epsilon={epsilon}): it takes one pass or "
                "more, a step_size and an init of 0 or more, and an epsilon above 0 (or null for no projection)."
            )
        self.steps, self.step_size, self.init, self.epsilon = steps, step_size, init, epsilon
        self.text: EmbeddedText | None = None
        self.deltas: dict[int, Delta] = {}
        self.replays = steps > 1

    @property
    def acts(self) -> bool:
        return self.steps > 1 or self.init > 0

    def attach(self, model: nn.Module) -> None:
        if self.acts:
            self.text = EmbeddedText(type(self).__name__, model, self.perturbation)

    def conflict(self, other: Regularizer) -> str | None:
        if isinstance(other, FreeLB) and self.acts and other.acts:
            return "each would climb from the same start in its own balls; use one with a larger step_size and epsilon."
        return None

    def before_forward(self, batch: Batch) -> None:
        if self.text is not None:
            self.text.announce(batch)

    def perturbation(self, embedded: Tensor, tokens: Tokens) -> Tensor:
        """A fresh leaf in each pass, so that its gradient is that pass's alone. A forward that is new to the step, also
        inside a replay of another method, starts from delta_0."""
        known = self.deltas.get(forward_seed())
        values = self.start(embedded, tokens) if known is None else known.values.detach()
        self.deltas[forward_seed()] = Delta(values.requires_grad_(), tokens)
        return tokens.placed(values)

    def start(self, embedded: Tensor, tokens: Tokens) -> Tensor:
        shape, device = (len(tokens.sequence), embedded.shape[-1]), embedded.device
        if not self.init:
            return torch.zeros(shape, device=device)
        drawn = torch.rand(shape, generator=forward_generator(type(self).__name__, device), device=device)
        sizes = self.init / (tokens.lengths * shape[1]).float().sqrt()
        return drawn.mul_(2).sub_(1).mul_(sizes[tokens.sequence].unsqueeze(1))

    def shape_gradients(self, parameters: Sequence[nn.Parameter], replay: Replay) -> float | None:
        if self.text is None:
            return None
        reached = replay.objective
        whole = [None if p.grad is None else p.grad.clone() for p in parameters]
        for _ in range(self.steps - 1):
            self.ascend()
            reached = replay()
            whole = [added(gradient, p.grad) for gradient, p in zip(whole, parameters, strict=True)]
        for p, gradient in zip(parameters, whole, strict=True):
            p.grad = None if gradient is None else gradient.div_(self.steps)
        self.deltas = {}
        return reached - replay.objective if self.steps > 1 else None

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        self.deltas = {}  # those of a step without tokens too

    @torch.no_grad()
    def ascend(self) -> None:
        for delta in self.deltas.values():
            gradient, tokens = delta.values.grad, delta.tokens
            if gradient is None:  # a forward whose output nothing was differentiated through
                continue
            moved = delta.values + self.step_size * gradient / norms(gradient, tokens).clamp(min=TINY)
            if self.epsilon is not None:
                moved *= (self.epsilon / norms(moved, tokens).clamp(min=TINY)).clamp(max=1)
            delta.values = moved


def added(whole: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if whole is None or gradient is None:
        return whole if gradient is None else gradient.clone()
    return whole.add_(gradient)


def norms(values: Tensor, tokens: Tokens) -> Tensor:
    """[n, d] to [n, 1]: for each token the Frobenius norm over its sequence."""
    squares = tokens.summed(values.float().square().sum(-1))
    return squares.sqrt()[tokens.sequence].unsqueeze(1)
