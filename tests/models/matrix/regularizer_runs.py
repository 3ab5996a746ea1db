"""Short runs of tiny models with a stack of regularizers, and what they leave behind."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from finelab.models import CausalLM, SequenceClassifier
from finelab.models.regularizers.regularizer import Regularizer

from .. import made_up_targets
from ..conftest import RaggedRows, collate
from .regularizer_table import Row, lora

SGD = functools.partial(torch.optim.SGD, lr=0.1)


def tuner(task: str, regularizers: Sequence[Regularizer] = (), adapter=None, **options):
    """LoRA on a tiny model of the task: a decoder whose only dropout is LoRA's, or an encoder with its own."""
    whole = adapter or lora()
    if task == "lm":
        return CausalLM("tiny://llama", whole, SGD, list(regularizers), **options)
    return SequenceClassifier("tiny://bert", whole, SGD, list(regularizers), labels=made_up_targets.LABELS, **options)


def of(row: Row, task: str, setting: str = "real", **options):
    """One method of the table at one of its settings, on its adapter."""
    return tuner(task, [getattr(row, setting)()], row.adapter(), **options)


def rows(task: str, micro: int, more: int = 0) -> DataLoader:
    """Eight rows in batches of ``micro``; ``more`` adds that many pads to each."""
    if task == "class":
        return made_up_targets.loader("class", micro, more=more)

    def padded(batch):
        return made_up_targets.widened(collate(batch), "tokens", more)

    own = torch.Generator().manual_seed(0)
    return DataLoader(RaggedRows(8, None), micro, collate_fn=padded, generator=own)


def without_dropout(module) -> None:
    """Turns off every dropout of a built model; the modules stay in training mode."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in vars(part).items():  # of attentions, which drop without a module (Llama, T5)
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)


class Masks(L.Callback):
    """The dropout masks of every training forward, with the seed of that forward."""

    def __init__(self, module) -> None:
        self.visits: list[tuple[int, list[Tensor]]] = []
        self.module = module
        module.configure_model()
        module.adapted.register_forward_pre_hook(self.begin)
        for part in module.modules():
            if isinstance(part, nn.Dropout) and part.p > 0:
                part.register_forward_hook(self.keep)

    def begin(self, model, args) -> None:
        if model.training:
            self.visits.append((torch.default_generator.initial_seed(), []))

    def keep(self, dropout, inputs, output) -> None:
        if dropout.training:
            self.visits[-1][1].append((output == 0) & (inputs[0] != 0))

    def require_first_masks_of(self, other: "Masks") -> None:
        """Every forward of ``other`` happened here too, first or replayed, each time with its masks."""
        for seed, masks in other.visits:
            mine = [found for own, found in self.visits if own == seed]
            assert mine, "a forward of the baseline did not happen"
            for found in mine:
                assert len(found) == len(masks)
                assert all(torch.equal(*pair) for pair in zip(found, masks, strict=True))


class Keep(L.Callback):
    """What each optimizer step saw, and the state of the default generator after each micro-batch."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.logged: list[dict[str, float]] = []
        self.states: list[Tensor] = []

    def on_train_start(self, trainer, module) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]

        def keep(optimizer, args, options) -> None:
            self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})

        trainer.optimizers[0].register_step_post_hook(keep)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.states.append(torch.get_rng_state())
        self.logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})


@dataclass(frozen=True)
class Run:
    """What one short run left.

    Args:
        weights: every trainable weight in one vector.
        gradients: of each optimizer step, by name, as the optimizer saw them.
        logged: after each micro-batch.
        states: of the default generator, after each micro-batch.
    """

    module: L.LightningModule
    weights: Tensor
    gradients: list[dict[str, Tensor]]
    logged: list[dict[str, float]]
    states: list[Tensor]
    masks: Masks | None

    def gradient(self, step: int = 0) -> Tensor:
        return torch.cat([grad.flatten() for grad in self.gradients[step].values()])


def flat(module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])


def run(module, data: DataLoader, accumulate: int = 1, masks: bool = False, epochs: int = 1, **options) -> Run:
    """Trains on the CPU and keeps what is compared."""
    module.configure_model()
    seen, keep = Masks(module) if masks else None, Keep()
    settings = {"max_epochs": epochs, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    torch.manual_seed(5)
    trainer = L.Trainer(**(settings | options), callbacks=[keep], accumulate_grad_batches=accumulate)
    trainer.fit(module, data)
    return Run(module, flat(module), keep.gradients, keep.logged, keep.states, seen)
