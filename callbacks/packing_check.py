"""Whether packed samples train as they would alone, measured before the first step."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..contracts.data import PackedSamples, PackingSource
from ..contracts.errors import UserError
from ..models.causal_lm import CausalLM
from .evaluation import data_of, undisturbed

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}
"""Largest difference of a token's NLL in nats that rounding explains, by the type of the logits."""


class PackingCheck(Callback):
    """Compares the loss of every token of some training samples packed and alone, and refuses what differs.

    A model whose attention cannot be kept inside a sample (it ignores ``position_ids``, or carries a state from token
    to token) would learn to predict each sample from the one before it, and nothing in the curves would say so.
    """

    def __init__(self) -> None:
        self.difference: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        UserError: a token's loss depends on the samples beside it.
        """
        data = data_of(trainer)
        if not isinstance(data, PackingSource) or (probe := data.packing_probe()) is None:
            return
        if not isinstance(pl_module, CausalLM):
            raise UserError(
                f"data.loader asks for packed batches, and {type(pl_module).__name__} takes none; remove packing and "
                "padding_free, or train a finelab.models.CausalLM."
            )
        difference, allowed = self._compare(trainer, pl_module, probe)
        samples = len(probe.packed["sample_id"])
        if not difference <= allowed:
            raise UserError(
                f"{pl_module.base} with attention {pl_module.attention} cannot be trained on packed rows: with "
                f"{samples} samples in one row a token's loss differs by up to {difference:.3g} nats from its loss "
                f"apart (at most {allowed:g} is rounding), so that samples see each other. Remove packing and "
                "padding_free from data.init_args.loader, or set another model.init_args.loading.attention."
            )
        self.difference = difference
        rank_zero_info(f"Packed as apart: {samples} samples, no token's loss differs by more than {difference:.1e}.")
        if probe.padding_free and not pl_module.attention.startswith("flash"):
            rank_zero_warn(
                f"data.loader.padding_free with attention {pl_module.attention} computes the square of the whole "
                "batch's tokens; set model.init_args.loading.attention: flash_attention_2, or leave it to "
                "data.init_args.loader.bucketing or packing."
            )

    def _compare(self, trainer: Trainer, module: CausalLM, probe: PackedSamples) -> tuple[float, float]:
        """The largest difference of a token's NLL in nats, and what rounding explains."""
        with undisturbed(module), trainer.precision_plugin.forward_context():
            packed, padded = (
                module.score(trainer.strategy.batch_to_device(batch)) for batch in (probe.packed, probe.padded)
            )
        if not len(padded.nll):
            return 0.0, 0.0
        return (packed.nll - padded.nll).abs().max().item(), TOLERANCE[padded.logits.dtype]
