"""A loader that can go on inside an epoch."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from ..contracts.batch import Batch
from .sampler import GlobalBatchSampler


class OrderedLoader(DataLoader[Batch]):
    """Batches in the order of a ``GlobalBatchSampler``; Lightning saves and restores where it stands.

    Args:
        processed: batches of this epoch that have trained; what workers have fetched ahead does not count.
    """

    batch_sampler: GlobalBatchSampler

    def __init__(self, *arguments: Any, processed: Callable[[], int], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.processed = processed

    def state_dict(self) -> dict[str, int]:
        return self.batch_sampler.state_dict() | {"position": self.processed()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.load_state_dict(state)
