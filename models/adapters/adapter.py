"""The protocol of an adapter: the shape of the weights, and which of them train."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.batch import Batch
from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer, Survey

WEIGHTS = "weights.safetensors"
BaseIs = Literal["off", "start", "lost"]


@dataclass(frozen=True)
class Change:
    """How an adapter changes weights of the base that it leaves where they are.

    Args:
        name: of the layer or the weight in the adapted model.
        parameters: what trains of it.
        squares: computes two float64 numbers, |W - W_base|^2 and |W_base|^2 (Frobenius), W the effective weight.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    squares: Callable[[], tuple[Tensor, Tensor]]


class Adapter(ABC):
    """Changes a pretrained backbone before training; it starts as the identity, so that step 0 is the base.

    A subclass marks what trains by ``requires_grad`` and may bring terms and callbacks of its own.
    The default files hold the trainable parameters only. The defaults are those of an adapter that trains weights of
    the backbone where they stand.
    """

    @property
    def base_is(self) -> BaseIs:
        """How the base's function is found in an adapted model.

        off: inside ``off``. start: with the trainable weights as they were after ``adapt``. lost: in neither way.
        """
        return "start"

    @property
    def shards(self) -> bool:
        """Whether it was tried with weights that lie in shards (FSDP2); it is refused there otherwise."""
        return False

    @property
    def merges(self) -> bool:
        """Whether ``merge`` gives a plain backbone of the same function."""
        return True

    @property
    def virtual_tokens(self) -> int:
        """Positions that the adapter puts before each row's own; the target leaves them out."""
        return 0

    @property
    def preceding(self) -> int:
        """Positions that attention sees before each row's own: virtual tokens, or keys and values without a token."""
        return self.virtual_tokens

    def inputs(self, batch: Batch) -> Mapping[str, Tensor]:
        """What the adapted backbone takes of a batch beyond ``MODEL_INPUTS``, e.g. each row's task."""
        return {}

    @abstractmethod
    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        """Freeze, wrap or extend the backbone.

        Returns:
            the module to train, with the backbone's ``forward`` signature.

        Raises:
            UserError: the backbone cannot be adapted this way.
        """

    def prepare(self, backbone: PreTrainedModel, survey: Survey) -> None:  # noqa: B027 (most look at nothing)
        """Look at training data before ``adapt``; called in ``fit`` only, since a checkpoint needs no second look.

        Args:
            backbone: as it was loaded, on its device.
            survey: training rows, and the target's loss of them with the backbone as it is; shifts no draw.
        """

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, an adapted backbone computes the base's function; for ``base_is`` off only."""
        raise NotImplementedError(f"{type(self).__name__} cannot be switched off; base_is is {self.base_is}")

    def loaded_start(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Of parameters that start elsewhere since the last ``load``: the start that the folder brought, by name."""
        return {}

    def merge(self, model: nn.Module) -> PreTrainedModel:
        """The plain backbone with what was learned in its weights; the adapted model is of no use afterwards.

        Raises:
            UserError: this adapter does not merge.
        """
        assert isinstance(model, PreTrainedModel)
        return model

    def undecayed(self, model: nn.Module) -> set[int]:
        """Ids of parameters that weight decay must leave alone, beyond norms, vectors and scales that start at one."""
        return set()

    def idle(self, model: nn.Module) -> Mapping[str, str]:
        """Parameters that train and that no gradient may reach by the method's design: part of their names -> why."""
        return {}

    def changes(self, model: nn.Module) -> list[Change]:
        """What merging would do to the base's weights. Other parameters that train are compared with their own start:
        those of the base where ``base_is`` says start, and otherwise new ones, which change no weight."""
        return []

    def regularizers(self) -> list[Regularizer]:
        """Terms that belong to the method itself; called after ``adapt``."""
        return []

    def callbacks(self) -> list[Callback]:
        """Moments of the loop that the method needs; asked for before the model is built."""
        return []

    def state(self, model: nn.Module) -> dict[str, Any]:
        """What a resume needs beyond the trainable weights and what ``adapt`` makes again of the same base and init
        seed: tensors and plain values."""
        return {}

    def restore(self, model: nn.Module, state: dict[str, Any]) -> bool:
        """Take over what ``state`` gave, before the weights are restored.

        Returns:
            whether it tells of another start than this model's: it has to be built anew, and ``adapt`` will use that.

        Raises:
            UserError: the state belongs to another configuration.
        """
        return False

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
