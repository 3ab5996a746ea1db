"""The LightningModule: one objective, one optimizer step, for every adapter and every stack of regularizers.

    J = (1/N) * sum over the step's N supervised tokens of [nll + sum_i a_i]  +  sum_j b_j(theta)

N is the *global* count, over the micro-batches and ranks of one optimizer step. The order of a step: micro-batches
(forward, token terms, backward) -> reduction and division by N -> callbacks -> parameter terms, once -> gradient
shaping in list order -> clipping -> update -> ``after_step``. Every forward is seeded by its count, so that an extra
forward, probe or loader shifts no later dropout mask.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from peft import PeftConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from ..contracts.batch import Batch
from ..contracts.data import MixedSources
from ..contracts.errors import UserError
from ..contracts.seeds import Seeds, derive
from .adapters.adapter import Adapter
from .adapters.peft import as_adapter
from .backbone import Kind, Loading, load
from .checkpoint_folder import read_manifest, write_manifest
from .gradients import no_sync, scale_gradients, seed_forward, trained
from .parameter_groups import decay_groups, undecayed
from .regularizers.regularizer import Outputs, Regularizer, Step
from .schedule import Schedule
from .target import Target
from .window import Consumed, Window, require_finite, unique_names


class FineTuner(Target):
    """Fine-tunes a pretrained base; a subclass says what the supervised positions are and how they are scored.

    Args:
        base: hub id, folder, ``pkg://PACKAGE/FOLDER`` or ``tiny://llama|bert|t5``.
        adapter: any ``peft.PeftConfig``, or an adapter of finelab.
        optimizer: a factory over parameter groups; vectors and norms get no weight decay.
        regularizers: in the order in which they act.
        schedule: of the learning rate, per optimizer step; None keeps the optimizer's rate.
        loading: revision, dtype, attention kernel, activation checkpointing.
        seeds: init for new weights, train for dropout and noise.
    """

    kind: Kind

    def __init__(
        self,
        base: str,
        adapter: Adapter | PeftConfig,
        optimizer: Callable[[Iterable], Optimizer],
        regularizers: list[Regularizer] | None = None,
        schedule: Schedule | None = None,
        loading: Loading | None = None,
        seeds: Seeds | int = 1,
    ) -> None:
        super().__init__()
        self.base, self.adapter = base, as_adapter(adapter)
        self.make_optimizer, self.schedule = optimizer, schedule
        self.own_regularizers, self.loading = list(regularizers or []), loading or Loading()
        self.seeds = Seeds.of(seeds)
        self.model: nn.Module | None = None
        self.loading_notes: tuple[str, ...] = ()
        self.unit: float = 1.0
        self.window, self.replaying = Window(), False
        self.consumed: dict[str, Consumed] = {}
        self.supervised_tokens = self.skipped_steps = 0

    @abstractmethod
    def build(self, backbone: nn.Module) -> nn.Module:
        """The trainable whole: the adapted backbone, and a head where the target needs one."""

    # ---- building

    def configure_model(self) -> None:
        if self.model is not None:  # Lightning calls this at every entry point
            return
        with torch.random.fork_rng():
            loaded = load(self.base, self.kind, self.loading)
            self.base_digest, self.loading_notes = loaded.digest, loaded.notes
            torch.manual_seed(derive("adapter", self.seeds.init))
            adapted = self.adapter.adapt(loaded.model)
            torch.manual_seed(derive("head", self.seeds.init))
            self.model = self.build(adapted)
        if not any(p.requires_grad for p in self.model.parameters()):
            raise UserError(
                f"{type(self).__name__} with {type(self.adapter).__name__} has nothing to train; choose an adapter "
                "that trains weights of it (model.adapter: finelab.models.adapters.Full, or any peft.PeftConfig)."
            )
        self.exempt = undecayed(self.model)
        self.regularizers = self.own_regularizers + self.adapter.regularizers()
        for regularizer in self.regularizers:
            regularizer.attach(self.model)
        self.names = unique_names(self.regularizers)
        self.shapers = [r for r in self.regularizers if type(r).shape_gradients is not Regularizer.shape_gradients]

    def configure_callbacks(self) -> list[L.Callback]:
        return self.adapter.callbacks()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = decay_groups((p for p in self.parameters() if p.requires_grad), self.exempt)
        optimizer = self.make_optimizer(groups)
        if self.schedule is None:
            return optimizer
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise UserError(
                f"model.schedule: {type(self.schedule).__name__} needs to know the number of steps; set "
                "trainer.max_epochs or trainer.max_steps, or remove the schedule."
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, int(total)), "interval": "step"},
        }

    # ---- the objective

    def forward(self, batch: Batch) -> Outputs:
        """Logits [N, V] and hidden states [N, H] at the supervised positions."""
        return self.supervised(batch)[0]

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        names = data.training_names if isinstance(data, MixedSources) else []
        self.consumed = {name: Consumed() for name in names} if len(names) > 1 else {}
        self.window = Window(sources=len(self.consumed))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if not self.replaying:
            self.window.open(batch, keep=bool(self.shapers))
        return self.micro_batch_loss(batch, self.window.turn)

    def micro_batch_loss(self, batch: Batch, turn: int) -> Tensor:
        """The sum over this micro-batch's supervised tokens, in units of a typical sum."""
        count = partial(derive, "forward", self.seeds.train, self.trainer.global_step, turn, self.global_rank)
        extra = iter(range(1, 1 << 30))

        def again() -> Outputs:
            seed_forward(count(next(extra)), self.device)
            return self.supervised(batch)[0]

        seed_forward(count(0), self.device)
        outputs, targets, rows = self.supervised(batch)
        likelihood = self.likelihood
        step = Step(outputs, targets, rows, likelihood.nll(outputs.logits, targets), likelihood, again)
        total = nll = step.nll.sum()
        shown: dict[str, Tensor] = {}
        for name, regularizer in zip(self.names, self.regularizers, strict=True):
            if (term := regularizer.token_term(step)) is not None:
                total, shown[name] = total + term.addition, term.shown
        if not self.replaying:
            self.window.add(len(targets), nll, total, shown)
            self.window.add_sources(batch, step)
        return total / self.unit

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
        if self.window.tokens:
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
        parameters = trained(optimizer)
        additions, shown = self.add_parameter_terms(parameters)
        for shaper in self.shapers:
            shaper.shape_gradients(parameters, partial(self.replay, parameters))
        self.norm = norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        rate = optimizer.param_groups[0]["lr"]
        require_finite(self.window, norm, rate, scaled=self.trainer.scaler is not None)
        logged = {f"reg/{name}": value for name, value in (self.window.shown_means() | shown).items()}
        means = zip(self.consumed, self.window.seen, strict=True)
        logged |= {f"train/{name}/nll": seen.nll / seen.tokens for name, seen in means if seen.tokens}
        logged |= {"train/loss": self.window.mean("total") + additions, "grad/norm": norm.item(), "train/lr": rate}
        self.log_dict(logged)
        self.log("train/nll", self.window.mean("nll"), prog_bar=True)

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
        pairs = zip(self.names, self.regularizers, strict=True)
        terms = {name: term for name, r in pairs if (term := r.parameter_term()) is not None}
        if not terms:
            return 0.0, {}
        whole = torch.stack([term.addition for term in terms.values()]).sum()
        for p, gradient in zip(parameters, torch.autograd.grad(whole, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad.add_(gradient)
        return whole.item(), {name: term.shown.item() for name, term in terms.items()}

    def replay(self, parameters: list[nn.Parameter]) -> None:
        """The gradient of all of J again, at the current weights, over the same window and dropout masks."""
        for p in parameters:
            p.grad = None
        unit, self.unit, self.replaying = self.unit, self.window.unit, True
        strategy, last = self.trainer.strategy, len(self.window.batches) - 1
        for turn, batch in enumerate(self.window.batches):
            self.window.turn = turn
            with no_sync(strategy) if turn < last else nullcontext():
                loss = strategy.training_step(batch, turn)
                assert isinstance(loss, Tensor)
                loss.backward()
        scale_gradients(parameters, self.window.unit * self.trainer.world_size / self.window.tokens)
        self.unit, self.replaying = unit, False
        self.add_parameter_terms(parameters)

    # ---- weights

    def trainable_state(self) -> dict[str, Tensor]:
        """CPU copies of every trainable parameter; before training it is the base's function."""
        return {name: p.detach().cpu().clone() for name, p in self.named_parameters() if p.requires_grad}

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        parameters = dict(self.named_parameters())
        for name, value in state.items():
            parameters[name].data.copy_(value)

    def parameter_counts(self) -> tuple[int, int]:
        """Trainable and total parameters."""
        counts = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, trains in counts if trains), sum(n for n, _ in counts)

    def manifest(self) -> dict[str, Any]:
        """What a checkpoint folder says of itself beyond its weights."""
        return {"target": type(self).__name__, "base": self.base, "base_digest": self.base_digest}

    def save_folder(self, folder: Path) -> None:
        """Write the trainable parameters only: the adapter's own format, and ``finelab.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.adapter.save(self.adapted, folder)
        write_manifest(folder, self.manifest())

    def load_folder(self, folder: Path) -> None:
        """Read what ``save_folder`` wrote.

        Raises:
            UserError: the folder is missing, or belongs to another base or target.
        """
        self.configure_model()
        read_manifest(folder, self.manifest())
        self.adapter.load(self.adapted, folder)

    @property
    @abstractmethod
    def adapted(self) -> nn.Module:
        """The adapted backbone inside ``model``."""
