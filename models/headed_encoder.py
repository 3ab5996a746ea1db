"""An adapted encoder under a new linear head. Legend: B rows, T tokens, H width, N supervised positions, V outputs."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from .finetuner import FineTuner
from .regularizers.regularizer import Fresh, Outputs

HEAD = "head.safetensors"


class Head(Fresh):
    """Dropout and one linear layer, in float32 whatever the backbone's type is."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(width, outputs)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.dropout(features).to(self.linear.weight.dtype))


class EncoderWithHead(nn.Module):
    """An adapted backbone under a new head."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


class HeadedEncoder(FineTuner):
    """Puts a new linear head on a pretrained encoder; a subclass says what the head reads and what it stands for.

    The head is trained and saved with every adapter. An untrained head says nothing, so that the baseline of such a run
    is the best guess that looks at no text, and a probe on frozen features where the target is a class.

    Args:
        head_dropout: on what the head reads.

    Attributes:
        guess: what the guess without a text is called.
        probed: whether a logistic regression on the frozen features is a fair reference.
    """

    kind = "encoder"
    has_fresh_head = True
    guess: str = "majority"
    probed = False

    def __init__(self, *args: Any, head_dropout: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head_dropout = head_dropout

    @property
    @abstractmethod
    def outputs(self) -> int:
        """V, the width of the head's output."""

    @abstractmethod
    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The supervised positions' targets [N, ...] and rows [N]; no forward."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """What the head reads at the supervised positions, [N, H]."""

    @abstractmethod
    def constant(self, targets: Tensor) -> Tensor:
        """Logits [V] of the best prediction that looks at no text, from the targets of all training rows."""

    def constant_logits(self, constant: Tensor, batch: Batch) -> Tensor:
        """The same prediction for each position of a batch, as ``supervised`` would give it."""
        return constant.expand(len(self.targets(batch)[0]), -1)

    def build(self, backbone: nn.Module) -> nn.Module:
        width = cast(PreTrainedModel, backbone).config.hidden_size
        return EncoderWithHead(backbone, Head(width, self.outputs, self.head_dropout))

    @property
    def adapted(self) -> nn.Module:
        assert isinstance(self.model, EncoderWithHead)
        return self.model.backbone

    @property
    def head(self) -> Head:
        assert isinstance(self.model, EncoderWithHead)
        return self.model.head

    def states(self, batch: Batch) -> Tensor:
        """Hidden states of the batch's own tokens, [B, T, H]."""
        return self.adapted(**self.inputs(batch)).last_hidden_state[:, self.adapter.virtual_tokens :]

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        features = self.features(batch)
        return Outputs(self.head(features), features), *self.targets(batch)

    def save_weights(self, folder: Path) -> None:
        super().save_weights(folder)
        self.save_head(folder)

    def load_weights(self, folder: Path) -> None:
        super().load_weights(folder)
        self.load_head(folder)

    def save_head(self, folder: Path) -> None:
        save_file({name: p.detach().cpu().contiguous() for name, p in self.head.state_dict().items()}, folder / HEAD)

    def load_head(self, folder: Path) -> None:
        self.head.load_state_dict(load_file(folder / HEAD))


def at_least_two(labels: list[str] | None, target: type) -> list[str]:
    """Label names as the link from the data hands them over; None where the data has none.

    Raises:
        UserError: fewer than two.
    """
    if labels is None or len(labels) < 2:
        raise UserError(
            f"{target.__name__} needs at least two label names, and the data has {labels}; choose a data "
            "module with label_names (a template for classification), or another model."
        )
    return list(labels)


def log_frequencies(targets: Tensor, classes: int) -> Tensor:
    """[classes] logits of the class frequencies; half a row for a class without one, since a log of zero would make
    the reference's NLL infinite.
    """
    counts = targets.bincount(minlength=classes).clamp(min=0.5)
    return (counts / counts.sum()).log()
