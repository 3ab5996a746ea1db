"""LLaMA-Adapter through PEFT (Zhang et al., ICLR 2024, arXiv:2303.16199)."""

from torch import nn

from .peft import Peft


class PeftAdaptionPrompt(Peft):
    """In the top L attention layers, h = attention(x) + g softmax(q K_P^T) V_P: m trained vectors P [m, d] give further
    keys and values whose share is scaled by a gate g; L (m d + 1) parameters.

    The gate starts at zero, so that step 0 is the base and P gets its first gradient at the second step. No row gets
    longer: packing, caches and activation checkpointing stay as they are. The prompt's output is computed apart from
    the attention's own, about one more product of queries and keys a layer. Does not merge; switched off it is
    the base. Weight decay leaves all of it alone: towards a prompt of zeros it would weaken what the gate lets through.

    PEFT knows Llama, Mistral and GPT-2 only.
    """

    required = ("adapter_len", "adapter_layers")

    @property
    def merges(self) -> bool:
        return False

    def undecayed(self, model: nn.Module) -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}
