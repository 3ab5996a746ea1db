"""A fingerprint of which rows trained which step."""

import hashlib
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ..contracts.batch import Batch
from .evaluation import summed

MODULUS = 1 << 64
FLUSH_EVERY = 64


class OrderDigest(Callback):
    """Sum modulo 2^64, over all rows trained on, of a 64-bit hash of (optimizer step, sample_id).

    A sum does not depend on how a step's rows fall into micro-batches and ranks, so two runs saw the same rows at the
    same steps exactly when (up to a chance of 2^-64) their digests agree; and it resumes from one number.
    """

    def __init__(self) -> None:
        self.digest: str | None = None
        self._total = 0
        self._restored = 0
        self._pending: list[tuple[int, Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._pending.append((trainer.global_step, batch["sample_id"]))
        if len(self._pending) >= FLUSH_EVERY:  # reading ids at every batch would stall an accelerator
            self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.digest = f"{self._sum_over_ranks():016x}"

    def state_dict(self) -> dict[str, Any]:
        """Called on every rank when a checkpoint is taken."""
        return {"total": f"{self._sum_over_ranks():016x}"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = int(state_dict["total"], 16)

    def _flush(self) -> None:
        for step, ids in self._pending:
            self._total += sum(hash_of(step, sample_id) for sample_id in ids.tolist())
        self._total %= MODULUS
        self._pending = []

    def _sum_over_ranks(self) -> int:
        self._flush()
        return (summed(self._total)[0] + self._restored) % MODULUS


def hash_of(step: int, sample_id: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{step}:{sample_id}".encode(), digest_size=8).digest(), "big")
