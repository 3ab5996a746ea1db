"""Child-Tuning: only a part of the pretrained weights moves (Xu et al., EMNLP 2021, arXiv:2109.05687)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...contracts.errors import UserError
from .regularizer import Fresh, Regularizer, Replay, Survey

DEAD = 0.25
"""Share of the tensors without any gradient from which on a Fisher mask only says which ones those are."""


class ChildTuning(Regularizer):
    """g <- g * M / p with M ~ Bernoulli(p) anew in each optimizer step (mode F), or g <- g * M with M fixed on the
    share p of weights with the largest Fisher information (mode D). Where M is 0 a weight does not move in that step.

    Masked are the pretrained weights that train, and the adapter's; a new head always trains. M is counted by the
    optimizer step and the parameter's name: alike on all ranks and in a replay, whatever else stands in the list.
    The Fisher information is the empirical one at the start, F = 1/N sum over N training rows of (d nll / d w)^2, each
    row by itself, no dropout, no clipping, chosen by one threshold over all masked weights. (The authors' code squares
    clipped gradients of whole batches under dropout.)

    A masked weight is put back after the update, so that neither weight decay nor momentum moves it. In the authors'
    code and the paper's algorithm, the mask stands before Adam: masked weights go on by their momentum and decay. In
    mode D that concerns decay alone, since a weight that never has a gradient has no momentum. In mode F it is another
    method under Adam: each step moves a share p of the weights instead of all. Adam divides by the root of E[g^2 / p],
    so 1/p is not kept: a steady gradient moves a weight by about p^1.5 (1 + (1 - beta1)(1/p - 1)) of plain Adam's way
    (0.20 at p = 0.3), and by p^0.5 in the authors' code (0.55). Under SGD the mean movement is that of plain training.

    On LoRA, F is dropout of the factors' gradient. D says nothing there: at the start B is zero, so that A has
    no gradient and no Fisher information, and the mask is all of B first; that is refused. So are other adapters that
    start with a zero factor.

    Extra cost: no forward; once an optimizer step, some passes over the masked weights, in mode F with a random number
    each, which shows in full fine-tuning on short rows. D looks at ``rows`` rows up front, one forward and backward
    each. Memory: two copies of the masked weights; D a third, of all trainable weights, until it has looked. Does
    nothing at p = 1; at small p it is a smaller learning rate in disguise, so tune the rate for each p.

    Args:
        p: share of the weights that moves; 0.3 in the authors' script. 1 turns the method off.
        mode: F, free of the task, or D, driven by it.
        rows: training rows that D looks at, drawn at random; the authors take all. Rows beyond the training set are
            not asked for.

    Raises:
        UserError: p is not in (0, 1], rows is not positive; on attach, where no pretrained weight trains; before the
            first step, where D would be decided by the adapter's zeros.
    """

    def __init__(self, p: float = 0.3, mode: Literal["F", "D"] = "F", rows: int = 2048) -> None:
        if not 0 < p <= 1 or rows < 1 or mode not in ("F", "D"):
            raise UserError(
                f"model.regularizers: ChildTuning(p={p}, mode={mode!r}, rows={rows}): p is the share of weights that "
                "move, above 0 and at most 1 (1 is plain training), mode is F or D, and rows is at least 1."
            )
        self.p, self.mode, self.rows = p, mode, rows
        self.surveys, self.replays = mode == "D" and p < 1, False
        self.names: dict[nn.Parameter, str] = {}
        self.start: list[tuple[nn.Parameter, Tensor]] = []
        self.masks: dict[nn.Parameter, Tensor] = {}
        self.before: dict[nn.Parameter, Tensor] = {}
        self.words: Tensor | None = None
        self.begun = False

    def attach(self, model: nn.Module) -> None:
        if self.p == 1:
            return
        fresh = {p for module in model.modules() if isinstance(module, Fresh) for p in module.parameters()}
        trains = {p: name for name, p in model.named_parameters() if p.requires_grad}
        self.names = {p: name for p, name in trains.items() if p not in fresh}
        if not self.names:
            raise UserError(
                f"model.regularizers: ChildTuning(p={self.p}) masks pretrained weights, and here only a new head "
                "trains. Choose an adapter that trains more (model.adapter), or remove ChildTuning."
            )
        if self.mode == "D":
            self.start = [(p, p.detach().clone()) for p in trains]

    def conflict(self, other: Regularizer) -> str | None:
        if isinstance(other, ChildTuning) and self.p < 1 and other.p < 1:
            return "their masks would be drawn alike and multiply; use one with a smaller p."
        return None

    def before_training(self, survey: Survey) -> None:
        if self.p == 1 or self.mode == "F" or self.masks:
            return
        now = [p.detach().clone() for p, _ in self.start]
        put([p for p, _ in self.start], [value for _, value in self.start])
        fisher = self.fisher(survey)
        put([p for p, _ in self.start], now)
        self.start = []
        dead = sum(not bool(values.any()) for values in fisher)
        if dead >= DEAD * len(fisher):
            raise UserError(
                f"model.regularizers: ChildTuning(mode: D) ranks weights by their gradients at the start, and {dead} "
                f"of the {len(fisher)} tensors that train have none there: the adapter starts as a product with a "
                "zero factor (LoRA's B), and the mask would only say so. Use mode: F, full fine-tuning "
                "(finelab.models.adapters.Full), or an init with two factors that are not zero (init_lora_weights: "
                "pissa)."
            )
        threshold = top(fisher, self.p)
        child = [(values >= threshold) & (values > 0) for values in fisher]
        self.masks = {p: mask.to(p.dtype) for p, mask in zip(self.names, child, strict=True)}

    def state(self) -> dict[str, Any]:
        if self.mode == "F" or not self.masks:
            return {}
        return {"p": self.p, "masks": {name: self.masks[p].bool() for p, name in self.names.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        if state["p"] != self.p or self.mode == "F":  # changed on purpose: it looks again, from the start
            return
        self.masks = {p: state["masks"][name].to(p) for p, name in self.names.items()}
        self.start = []

    def fisher(self, survey: Survey) -> list[Tensor]:
        """Mean over rows of the squared gradient of each masked parameter, float32, alike on every rank."""
        parameters = list(self.names)
        sums = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
        seen = torch.zeros((), device=parameters[0].device)
        for row in survey.rows(self.rows):
            gradients = torch.autograd.grad(survey.nll(row), parameters, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total.add_(gradient.float().square())
            seen += 1
        count = survey.summed(seen)
        return [survey.summed(total) / count for total in sums]

    def shape_gradients(self, parameters: Sequence[nn.Parameter], replay: Replay) -> float | None:
        if self.p == 1:
            return None
        masked = [p for p in parameters if p in self.names]
        if not self.begun:  # not again in a replay, which may stand at other weights
            for p in masked:
                buffer(self.before, p).copy_(p.detach())
                if self.mode == "F":
                    self.draw(p, replay.generator(f"ChildTuning/{self.names[p]}", p.device))
            self.begun = True
        for p in masked:
            if p.grad is not None:
                p.grad.mul_(self.masks[p])
                if self.mode == "F":
                    p.grad.mul_(1 / self.p)
        return None

    def draw(self, p: nn.Parameter, generator: torch.Generator) -> None:
        """1 with probability p to 1/65536, else 0. A random int64 serves four weights, and buffers are kept: a float
        each in a new tensor takes about five times as long."""
        mask = buffer(self.masks, p)
        if self.words is None or 4 * len(self.words) < p.numel() or self.words.device != p.device:
            self.words = torch.empty(p.numel() // 4 + 1, dtype=torch.int64, device=p.device)
        words = self.words[: p.numel() // 4 + 1].random_(-(2**63), None, generator=generator)
        last = max(1, round(self.p * 65536)) - 32769
        torch.le(words.view(torch.int16)[: p.numel()], last, out=mask.view(-1))

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        if not self.begun:
            return
        with torch.no_grad():
            for p in parameters:
                if p in self.names:
                    torch.lerp(self.before[p], p, self.masks[p], out=p)  # exact at 0 and at 1
        self.begun = False


def buffer(kept: dict[nn.Parameter, Tensor], p: nn.Parameter) -> Tensor:
    """Of the parameter's shape and type, made once: touching new memory costs more than the arithmetic does."""
    if p not in kept:
        kept[p] = torch.empty(p.shape, dtype=p.dtype, device=p.device)
    return kept[p]


def put(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(value)


def top(values: list[Tensor], share: float) -> Tensor:
    """The threshold that this share of all numbers reach."""
    flat = torch.cat([part.flatten() for part in values])
    kept = max(1, round(share * len(flat)))
    return flat.kthvalue(len(flat) - kept + 1).values
