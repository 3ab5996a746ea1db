"""A fingerprint of which rows trained which step."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ..contracts.batch import Batch
from ..contracts.order_trail import OrderTrail
from .evaluation import gathered

FLUSH_EVERY = 64


class OrderDigest(Callback):
    """The digest of all rows trained on and the trail of where it came from (``contracts.order_trail``), over all ranks
    and all resumes of a run."""

    def __init__(self) -> None:
        self.digest: str | None = None
        self.trail: OrderTrail | None = None
        self._own, self._restored = OrderTrail(), OrderTrail()
        self._pending: list[tuple[int, Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._pending.append((trainer.global_step, batch["sample_id"]))
        if len(self._pending) >= FLUSH_EVERY:  # reading ids at every batch would stall an accelerator
            self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trail = self._over_ranks()
        self.digest = self.trail.digest

    def state_dict(self) -> dict[str, Any]:
        """Called on every rank when a checkpoint is taken."""
        return self._over_ranks().as_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = OrderTrail.of(state_dict)

    def _flush(self) -> None:
        for step, ids in self._pending:
            self._own.add(step, ids.tolist())
        self._pending = []

    def _over_ranks(self) -> OrderTrail:
        self._flush()
        whole = OrderTrail()
        whole.merge(self._restored)
        for trail in gathered(self._own):
            whole.merge(trail)
        return whole
