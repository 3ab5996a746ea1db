"""The protocol of an adapter: the shape of the weights, and which of them train."""

from abc import ABC, abstractmethod
from pathlib import Path

from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer

WEIGHTS = "weights.safetensors"


class Adapter(ABC):
    """Changes a pretrained backbone before training; it starts as the identity, so that step 0 is the base.

    A subclass marks what trains by ``requires_grad`` and may bring terms and callbacks of its own.
    The default files hold the trainable parameters only.
    """

    @property
    def virtual_tokens(self) -> int:
        """Positions that the adapter puts before each row's own; the target leaves them out."""
        return 0

    @abstractmethod
    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        """Freeze, wrap or extend the backbone.

        Returns:
            the module to train, with the backbone's ``forward`` signature.

        Raises:
            UserError: the backbone cannot be adapted this way.
        """

    def regularizers(self) -> list[Regularizer]:
        """Terms that belong to the method itself; called after ``adapt``."""
        return []

    def callbacks(self) -> list[Callback]:
        """Moments of the loop that the method needs; asked for before the model is built."""
        return []

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the trainable parameters of an adapted backbone into a folder."""
        state = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(state, folder / WEIGHTS)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what ``save`` wrote into an adapted backbone.

        Raises:
            UserError: the file does not fit this adapter and base.
        """
        stored = load_file(folder / WEIGHTS)
        expected = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if stored.keys() != expected.keys():
            odd = min(stored.keys() ^ expected.keys())
            raise UserError(
                f"{folder / WEIGHTS} holds {len(stored)} tensors and this adapter trains {len(expected)}; the first "
                f"that differs is {odd!r}. Load it with the adapter that wrote it (config.yaml beside it)."
            )
        for name, parameter in expected.items():
            parameter.data.copy_(stored[name])
