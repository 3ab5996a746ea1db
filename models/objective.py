"""One objective and one optimizer step, for every adapter and every stack of regularizers.

    J = (1/N) * sum over the step's N supervised tokens of [nll + sum_i a_i]  +  sum_j b_j(theta)

N is the *global* count, over the micro-batches and ranks of one optimizer step. The order of a step: micro-batches
(forward, token terms, backward) -> reduction and division by N -> callbacks -> parameter terms, once -> gradient
shaping in list order -> clipping -> update -> ``after_step``. Every forward is seeded by its count, so that an extra
forward, probe or loader shifts no later dropout mask.
"""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cache, partial
from itertools import count
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource, MixedSources
from ..contracts.errors import UserError
from ..contracts.seeds import Seeds, derive
from .finite_guard import FiniteGuard
from .gradients import add_gradient, evaluating, no_sync, scale_gradients, seed_forward, total_norm, trained
from .losses import SUM_DTYPE
from .parameter_groups import base_rate
from .regularizers.regularizer import Outputs, Regularizer, Step
from .stack import Named, SilentTerms, StepReplay, overrides, require_unscaled
from .survey import TrainingSurvey, require_rows
from .target import Target
from .window import Consumed, Window


class Objective(Target):
    """The training step of a target; ``FineTuner`` builds what it trains.

    Args:
        seeds: train for dropout and noise.
    """

    def __init__(self, seeds: Seeds) -> None:
        super().__init__()
        self.seeds = seeds
        self.stack: list[Named] = []
        self.unit: float = 1.0
        self.window, self.replaying = Window(), False
        self.silent = SilentTerms()
        self.consumed: dict[str, Consumed] = {}
        self.supervised_tokens = self.skipped_steps = 0
        self.resumed: dict[str, Any] | None = None

    @abstractmethod
    def as_base(self) -> AbstractContextManager[None]:
        """Inside, the model computes the base's function."""

    @property
    def regularizers(self) -> list[Regularizer]:
        """Those of the configuration, then those that the adapter brings."""
        return [named.method for named in self.stack]

    @property
    def shapers(self) -> list[Named]:
        return [named for named in self.stack if overrides(named.method, "shape_gradients")]

    @property
    def replayers(self) -> list[Named]:
        return [named for named in self.shapers if named.method.replays]

    def forward(self, batch: Batch) -> Outputs:
        """Logits [N, V] and hidden states [N, H] at the supervised positions."""
        return self.supervised(batch)[0]

    def on_fit_start(self) -> None:
        """Before anything is evaluated.

        Raises:
            UserError: a method wants rows or a second gradient, and this run can give it none.
        """
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if self.trainer.scaler is not None:
            require_unscaled(self.replayers)
        if isinstance(data, EvaluationSource):  # other loaders come after this moment
            for name in (name for name, method in self.stack if method.surveys):
                require_rows(self.trainer, f"model.regularizers: {name}")
        names = data.training_names if isinstance(data, MixedSources) else []
        self.consumed = {name: Consumed() for name in names} if len(names) > 1 else {}
        if self.resumed is not None:
            self.restore(self.resumed)
        self.window = Window(sources=len(self.consumed))

    def on_train_start(self) -> None:
        """After a checkpoint is restored, and after the callbacks have looked at the untouched model."""
        curious = [named for named in self.stack if overrides(named.method, "before_training")]
        if self.resumed is not None:
            curious = [named for named in curious if not named.method.state()]
        if curious:
            with isolate_rng(), evaluating(self):
                for name, regularizer in curious:
                    regularizer.before_training(TrainingSurvey(self, f"model.regularizers: {name}"))
            self.zero_grad()
        self.resumed = None

    def state(self) -> dict[str, Any]:
        """What the next step needs of the steps before it."""
        return {
            "unit": self.unit,
            "supervised_tokens": self.supervised_tokens,
            "skipped_steps": self.skipped_steps,
            "consumed": {name: asdict(own) for name, own in self.consumed.items()},
            "silent": {"zeros": self.silent.zeros, "heard": sorted(self.silent.heard)},
            "methods": {name: own for name, method in self.stack if (own := method.state())},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.unit = state["unit"]
        self.supervised_tokens, self.skipped_steps = state["supervised_tokens"], state["skipped_steps"]
        self.consumed = {name: Consumed(**own) for name, own in state["consumed"].items()}
        self.silent = SilentTerms(dict(state["silent"]["zeros"]), set(state["silent"]["heard"]))
        for name, method in self.stack:
            if name in state["methods"]:
                method.restore(state["methods"][name])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if not self.replaying:
            self.window.open(batch, keep=bool(self.replayers))
        return self.micro_batch_loss(batch, self.window.turn)

    def micro_batch_loss(self, batch: Batch, turn: int) -> Tensor:
        """The sum over this micro-batch's supervised tokens, in units of a typical sum."""
        counted = partial(derive, "forward", self.seeds.train, self.trainer.global_step, turn, self.global_rank)
        forwards = map(counted, count())

        def another() -> tuple[Outputs, Tensor, Tensor]:
            seed_forward(next(forwards), self.device)
            for regularizer in self.regularizers:
                regularizer.before_forward(batch)
            return self.supervised(batch)

        outputs, targets, rows = another()
        nll = self.likelihood.nll(outputs.logits, targets)
        reference = cache(partial(self.reference, batch))
        step = Step(outputs, targets, rows, nll, self.likelihood, lambda: another()[0], reference)
        total = nll = step.nll.sum()
        shown: dict[str, Tensor] = {}
        for name, regularizer in self.stack:
            if (term := regularizer.token_term(step)) is not None:
                total, shown[name] = total + term.addition, term.shown
        self.window.objective += total.detach().to(SUM_DTYPE)
        if not self.replaying:
            self.window.add(len(targets), nll, total, shown)
            self.window.add_sources(batch, step)
        return total / self.unit

    def reference(self, batch: Batch) -> Outputs:
        """The base's function on a batch: eval mode, no graph, not a single draw."""
        with torch.no_grad(), evaluating(self), self.as_base():  # Lightning's autocast caches no casts of the weights
            return self.supervised(batch)[0]

    # ---- one optimizer step

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        assert optimizer_closure is not None
        parameters = trained(optimizer)

        def closure() -> Any:
            loss = optimizer_closure()
            self.close_window(parameters)
            return loss

        super().optimizer_step(epoch, batch_idx, optimizer, closure)
        for regularizer in self.regularizers:
            regularizer.after_step(parameters)
        self.window = Window(sources=len(self.consumed))

    def close_window(self, parameters: list[nn.Parameter]) -> None:
        """From this rank's sums, in units and divided by Lightning and DDP, to the mean over the step's tokens."""
        self.window.reduce(self.trainer.strategy)
        for consumed, seen in zip(self.consumed.values(), self.window.seen, strict=True):
            consumed.add(seen)
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        if not self.window.tokens:  # an update without gradients moves nothing, decay included
            if self.trainer.scaler is not None:
                raise UserError(
                    f"Optimizer step {self.trainer.global_step} has no supervised token, and float16 loss scaling "
                    "cannot skip a step. Use trainer.precision: bf16-mixed, or drop the rows without targets."
                )
            for p in parameters:
                p.grad = None
            self.skipped_steps += 1
            return
        scale_gradients(parameters, self.unit * parts / self.window.tokens)
        self.window.unit, self.unit = self.unit, self.window.tokens / parts
        self.supervised_tokens += self.window.tokens

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if not self.window.tokens:
            return
        self.log_dict(self.finish_gradients(optimizer))
        self.log("train/nll", self.window.mean("nll"), prog_bar=True)

    def finish_gradients(self, optimizer: Optimizer) -> dict[str, float]:
        """Parameter terms and shaping on a closed window with tokens; returns what is to be logged of the step."""
        parameters, rate = trained(optimizer), base_rate(optimizer)
        guard = FiniteGuard(self.window, self.trainer.global_step, rate, self.stack)
        guard.losses()
        additions, shown = self.add_parameter_terms(parameters)
        guard.parameter_terms(additions)
        objective = self.window.mean("total") + additions
        shown |= self.window.shown_means() | self.shape_gradients(parameters, self.shapers, objective)
        self.silent.watch(shown)
        self.norm = norm = total_norm(parameters)
        guard.gradient(norm, self.trainer.scaler, self.named_parameters())
        logged = {f"reg/{name}": value for name, value in shown.items()}
        means = zip(self.consumed, self.window.seen, strict=True)
        logged |= {f"train/{name}/nll": seen.nll / seen.tokens for name, seen in means if seen.tokens}
        return logged | {"train/loss": objective, "grad/norm": norm.item(), "train/lr": rate}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm that is known already; Lightning's own way refuses a fused optimizer under mixed precision."""
        if gradient_clip_algorithm == "value" or self.trainer.scaler is not None:
            return super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        if gradient_clip_val and self.window.tokens and self.norm > gradient_clip_val:
            scale_gradients(trained(optimizer), gradient_clip_val / self.norm.item())

    def add_parameter_terms(self, parameters: list[nn.Parameter]) -> tuple[float, dict[str, float]]:
        """Adds their gradients; returns their sum, and each one's unweighted value."""
        terms = [(name, term) for name, method in self.stack if (term := method.parameter_term()) is not None]
        if not terms:
            return 0.0, {}
        whole = torch.stack([term.addition for _, term in terms]).sum()
        for p, gradient in zip(parameters, torch.autograd.grad(whole, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                add_gradient(p, gradient)
        return whole.item(), {name: term.shown.item() for name, term in terms}

    def shape_gradients(
        self, parameters: list[nn.Parameter], shapers: list[Named], objective: float
    ) -> dict[str, float]:
        """In list order; the replay that a method asks for is shaped by those before it. Returns what is shown."""
        seed = derive("update", self.seeds.train, self.trainer.global_step)
        shown: dict[str, float] = {}
        for position, (name, method) in enumerate(shapers):
            replay = StepReplay(partial(self.replay, parameters, shapers[:position]), seed, objective)
            if (value := method.shape_gradients(parameters, replay)) is not None:
                shown[name] = value
        return shown

    def replay(self, parameters: list[nn.Parameter], shapers: list[Named]) -> float:
        """The gradient of all of J again, at the current weights, over the same window and dropout masks."""
        assert self.window.batches, "a method that replays says so: Regularizer.replays"
        for p in parameters:
            p.grad = None
        unit, self.unit, self.replaying = self.unit, self.window.unit, True
        strategy, last = self.trainer.strategy, len(self.window.batches) - 1
        self.window.objective = 0.0
        try:
            for turn, batch in enumerate(self.window.batches):
                self.window.turn = turn
                with no_sync(strategy) if turn < last else nullcontext():
                    loss = strategy.training_step(batch, turn)
                    assert isinstance(loss, Tensor)
                    loss.backward()
        finally:
            self.unit, self.replaying = unit, False
        mean = self.window.mean_objective(strategy)
        scale_gradients(parameters, self.window.unit * self.trainer.world_size / self.window.tokens)
        additions, _ = self.add_parameter_terms(parameters)
        objective = mean + additions
        self.shape_gradients(parameters, shapers, objective)
        return objective
