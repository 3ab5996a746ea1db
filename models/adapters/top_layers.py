"""The last k blocks train: the plain baseline of every method that trains few parameters (Lee, Tang and Lin, 2019,
arXiv:1911.03090)."""

from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter
from .structure import input_parameters, is_norm, stacks


class TopLayers(Adapter):
    """Trains the last k blocks, the norms that follow them, and a new head; everything below is frozen.

    Trained, with ``|block|`` the parameters of one block: ``k |block| + |final norm|`` (a BERT has no final norm). Of
    an encoder-decoder these are the decoder's. A language model's vocabulary layer stays frozen, tied or not: it is
    pretrained, often larger than all k blocks together, and where it is tied it is the embedding below every frozen
    block. Cost: one forward; the backward stops at the k-th block, so a step takes about ``(1 + 2 k / L) / 3`` of that
    of full fine-tuning with L blocks, and gradients and optimizer state are the blocks' own. (Activation checkpointing
    sends the gradient through all blocks.)

    The update stands in the base's own weights: it is merged as it stands, and the base is found with the blocks of the
    start, not by turning anything off. Weight decay pulls the matrices to zero, not to the base, as in full
    fine-tuning.

    Hurts where the input is unlike the pretraining text, since what reads it cannot change; sweep k.

    Args:
        k: blocks to train, from the last one on.

    Raises:
        UserError: k is not within the number of blocks.
    """

    def __init__(self, k: int = 2) -> None:
        self.k = k

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        backbone.requires_grad_(False)
        found = stacks(backbone)
        blocks = list(found.values())[-1] if found else []
        if not 1 <= self.k <= len(blocks):
            raise UserError(
                f"model.adapter: TopLayers got k={self.k}, and {type(backbone).__name__} has {len(blocks)} blocks "
                f"({next(reversed(found), 'no list of blocks was found')}); set model.adapter.init_args.k within "
                "them, or choose finelab.models.adapters.Full."
            )
        for block in list(blocks)[-self.k :]:
            block.requires_grad_(True)
        for norm in final_norms(backbone):
            norm.requires_grad_(True)
        return backbone


def final_norms(backbone: PreTrainedModel) -> list[nn.Module]:
    """The norms that stand beside the last stack and belong to no embedding."""
    name = next(reversed(stacks(backbone)))
    before = input_parameters(backbone)
    beside = backbone.get_submodule(name.rpartition(".")[0]).children()
    return [module for module in beside if is_norm(module) and not before & {id(p) for p in module.parameters()}]
