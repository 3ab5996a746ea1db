"""What a pretrained transformer is made of, told by how its modules stand and never by its family.

A *stack* is an outermost ``ModuleList`` of blocks. In a block, layers under a name with "attn" or "attention" make up
an attention each and the remaining ones the feed-forward network (FFN); the last of each that is as wide as the
residual stream is its output layer. There is no table of families. Checked on BERT, RoBERTa, DistilBERT, ALBERT,
ELECTRA, DeBERTa, MPNet, ModernBERT, Longformer, Llama, Mistral, Qwen 2 and 3, Gemma 2 and 3, OLMo 2, Phi, Phi-3,
Granite, GPT-2, GPT-J, GPT-NeoX, GPT-BigCode, StarCoder 2, Falcon, OPT, BLOOM, MPT, Cohere, StableLM, GLM, T5, BART,
mBART and Marian.
"""

from dataclasses import dataclass
from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from transformers.pytorch_utils import Conv1D

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase)


def is_norm(module: nn.Module) -> bool:
    """torch's norms, and every class called ...Norm: families write their own."""
    return isinstance(module, NORMS) or type(module).__name__.endswith("Norm")


def stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of blocks by their name, in the order in which they are registered: the last one is nearest the loss.

    One for encoders and decoders, two for an encoder-decoder, none for a model that is not made of blocks.
    """
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        is_inner = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not is_inner and is_stack(module):
            found[name] = module
    return found


def is_stack(modules: nn.ModuleList) -> bool:
    return len({type(block) for block in modules}) == 1 and all(any(block.children()) for block in modules)


def input_parameters(model: nn.Module) -> set[int]:
    """Ids of the parameters that stand before the first block: embeddings, and what is registered as part of them.

    That is every subtree beside the stacks that holds an ``nn.Embedding`` or is named after one. A vocabulary layer
    that is tied to the embedding is the embedding.
    """
    names = tuple(stacks(model))
    found: set[int] = set()

    def look(module: nn.Module, path: str) -> None:
        for name, child in module.named_children():
            own = f"{path}{name}"
            if any(f"{stack}.".startswith(f"{own}.") for stack in names):
                if own not in names:
                    look(child, f"{own}.")
            elif "embed" in name or any(isinstance(part, nn.Embedding) for part in child.modules()):
                found.update(id(p) for p in child.parameters())

    look(model, "")
    return found


@dataclass(frozen=True)
class Sublayer:
    """An attention or the FFN of a block.

    Args:
        is_attention: or the FFN.
        reader: the first linear layer that reads its input.
        writer: the linear layer whose output is added to the residual stream.
    """

    is_attention: bool
    reader: nn.Module
    writer: nn.Module


def sublayers(block: nn.Module, width: int) -> list[Sublayer]:
    """The attentions and the FFN of a block; empty where they cannot be told, such as in a mixture of experts.

    Args:
        width: of the residual stream.
    """
    if any(p.ndim > 2 for p in block.parameters()):  # experts held in one tensor
        return []
    groups: dict[str, list[nn.Module]] = {}
    for name, layer in block.named_modules():
        if isinstance(layer, nn.Linear | Conv1D):
            groups.setdefault(attention_of(name), []).append(layer)
    readers = {name: [layer for layer in found if widths(layer)[0] == width] for name, found in groups.items()}
    writers = {name: [layer for layer in found if widths(layer)[1] == width] for name, found in groups.items()}
    if len(groups) < 2 or "" not in groups or len(writers[""]) != 1 or not all((*readers.values(), *writers.values())):
        return []
    return [Sublayer(bool(name), readers[name][0], writers[name][-1]) for name in groups]


def attention_of(name: str) -> str:
    """The path of the attention that a layer of a block belongs to; empty for a layer of the FFN."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if "attn" in part.lower() or "attention" in part.lower():
            return ".".join(parts[: i + 1])
    return ""


def widths(layer: nn.Module) -> tuple[int, int]:
    """What a linear layer reads and writes; GPT-2's ``Conv1D`` is one with its weight transposed."""
    if isinstance(layer, Conv1D):
        rows, columns = cast(nn.Parameter, layer.weight).shape
        return rows, columns
    assert isinstance(layer, nn.Linear)
    return layer.in_features, layer.out_features
