"""How the batches of a data module are fetched and laid out."""

from dataclasses import dataclass

from ..contracts.errors import UserError


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are fetched and laid out; never which rows, nor in which order of arms.

    Args:
        num_workers: processes that fetch; the order is the same with any number.
        bucketing: training batches of rows of like length; acts on padded batches alone.
        evaluation_batch_size: rows of an evaluation batch; null for twice the training batch (no gradients are kept).
        pin_memory: page-locked batches, for faster copies to a GPU.
        packing: several training samples share a row of at most ``context`` tokens, and none sees another
            (``data.packing``). ``batch_size`` then counts rows, so that a step has more samples than without.
            Language-model targets only; evaluation is never packed.
        padding_free: the samples of a training batch stand behind each other in one row without a pad, and none sees
            another. It pays with ``model.loading.attention: flash_attention_2``; other attentions compute the whole
            square of that row, batch_size times the work of padded rows. Language-model targets only.
    """

    num_workers: int = 0
    bucketing: bool = True
    evaluation_batch_size: int | None = None
    pin_memory: bool = False
    packing: bool = False
    padding_free: bool = False

    def __post_init__(self) -> None:
        if self.num_workers < 0 or (self.evaluation_batch_size is not None and self.evaluation_batch_size < 1):
            raise UserError(
                f"data.loader: num_workers {self.num_workers} must be at least 0, and evaluation_batch_size "
                f"{self.evaluation_batch_size} at least 1 or null."
            )
        if self.packing and self.padding_free:
            raise UserError(
                "data.loader: packing and padding_free are both true; packed rows have next to no pads that could be "
                "left out. Keep packing, or padding_free with flash attention to have batch_size count samples."
            )
