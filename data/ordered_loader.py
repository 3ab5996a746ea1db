"""The training loader of an order, and where a trainer stands in it."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .sampler import GlobalBatchSampler
from .trainer_position import trainer_position

WHERE = {
    "seed": "seeds.data",
    "global_batch": "data.init_args.batch_size times the number of devices",
    "rows": "the number of training rows",
    "bucketing": "data.init_args.loader.bucketing",
    "buffer": "data.init_args.buffer",
    "counts": "the rows that each of data.init_args.sources gives to an epoch",
}
"""What a user calls the parts of an order."""


class OrderedLoader(DataLoader[Batch]):
    """A loader whose state is a few numbers, whatever the size of the data; ``len`` is always that of a whole epoch.

    The position is what the trainer has *processed*, not what was fetched: batches that workers hold when a run stops
    come again. Once restored, what is left of the epoch is what a pass over that epoch gives, however often one begins.
    Workers are seeded by the epoch, so that a resumed run seeds them as the whole one did.

    Args:
        rows: what the sampler's indices stand for.
        sampler: a rank's share of the order.
        trainer: whose position it is; None, or one that does not fit, leaves it to the batches handed out.
        options: of the DataLoader.
    """

    def __init__(
        self, rows: Dataset[Any], sampler: GlobalBatchSampler, trainer: Trainer | None, **options: Any
    ) -> None:
        super().__init__(rows, batch_sampler=sampler, generator=torch.Generator(), **options)
        self.share, self.trainer = sampler, trainer
        self.begun, self.handed_out = -1, 0

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride] - what is counted
        order = self.share.sampler
        if (place := trainer_position(self.trainer)) is not None:
            order.set_epoch(place[0])  # Lightning makes the first iterator of a fit before it sets the epoch
        assert self.generator is not None
        self.generator.manual_seed(derive("loader", "train", order.seed, order.epoch))
        self.begun, self.handed_out = order.epoch, self.share.first
        return self._counted(super().__iter__())

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        order, place = self.share.sampler, trainer_position(self.trainer)
        processed = self.handed_out if place is None else place[1]
        # Between two epochs the trainer still counts the batches of the last one.
        position = processed if self.begun == order.epoch else self.share.first
        return {**order.identity(), "epoch": order.epoch, "position": position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next pass begins behind ``position`` global batches of ``epoch``.

        Raises:
            UserError: the state belongs to another order.
        """
        require_same_order(state_dict, self.share.sampler.identity())
        self.share.start_at(state_dict["epoch"], state_dict["position"])
        self.begun = -1


def require_same_order(state: dict[str, Any], own: dict[str, Any]) -> None:
    """Raises:
    UserError: a run with this order cannot go on from the state, since the batches ahead of it would be others.
    """
    for key, value in own.items():
        if state[key] != value:
            raise UserError(
                f"The training state's rows were put in order with another data order: {WHERE[key]} was {state[key]}, "
                f"and is {value} in this run. To continue, make it {state[key]} again; to train with {value}, start a "
                "new run."
            )
