"""Layer-wise learning-rate decay: lower blocks move less (Howard and Ruder, ACL 2018, arXiv:1801.06146; Zhang et al.,
ICLR 2021, arXiv:2006.05987)."""

from torch import nn

from ..contracts.errors import UserError
from .adapters.structure import input_parameters, stacks
from .learning_rate import LearningRate


class LayerDecay(LearningRate):
    """Rate ``eta xi^d`` at depth d below the loss.

    d is 0 for what follows the blocks (head, final norm, an untied vocabulary layer), 1 for the top block, L for the
    first of L blocks and L + 1 for the embeddings, tied ones and virtual tokens among them. Whatever an adapter puts
    into a block has the block's depth; a tensor that several blocks share has that of the first one it stands in. The
    two stacks of an encoder-decoder are each counted from their own top, since every block of the decoder reads the
    encoder's top. Blocks are found as lists of modules, for any family.

    No cost but an optimizer group a depth. Does nothing where all that trains has depth 0, which is refused. Hurts
    where low blocks have to change, as for another language.

    Args:
        rate: xi; 0.95 in the code of Zhang et al. for BERT-large. 1 turns it off.

    Raises:
        UserError: the rate is not within (0, 1]; the model is not made of blocks, or nothing in or below them trains.
    """

    def __init__(self, rate: float = 0.95) -> None:
        if not 0 < rate <= 1:
            raise UserError(
                f"model.learning_rates: LayerDecay got rate={rate}; it is the factor from a block to the one below and "
                "lies in (0, 1], e.g. 0.95."
            )
        self.rate = rate

    def multipliers(self, model: nn.Module) -> dict[str, float]:
        if self.rate == 1:
            return {}
        found = {name: depth for name, depth in depths(model).items() if depth}
        if not found:
            raise UserError(
                f"model.learning_rates: LayerDecay(rate={self.rate}) hits nothing: no trained parameter stands in or "
                "below a list of blocks. Remove it, or choose an adapter that trains inside the blocks."
            )
        return {name: self.rate**depth for name, depth in found.items()}


def depths(model: nn.Module) -> dict[str, int]:
    """How many blocks, its own among them, lie between each trained parameter and the loss."""
    lists, before = stacks(model), input_parameters(model)
    deepest = 1 + max(map(len, lists.values()), default=-1)
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = next((stack for stack in lists if name.startswith(f"{stack}.")), None)
        if own is not None:
            found[name] = len(lists[own]) - int(name[len(own) + 1 :].partition(".")[0])
        else:
            found[name] = deepest if id(parameter) in before else 0
    return found
