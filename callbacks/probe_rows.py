"""The rows of one probe set, evaluation after evaluation. Legend: T evaluations, n rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from .evidence.probe_series import ProbeSet
from .halves import Halves

Columns: TypeAlias = dict[str, np.ndarray]
"""``sample_id``, ``nll``, ``tokens`` and perhaps ``correct``, one entry a row."""

COLUMNS = ("sample_id", "nll", "tokens", "correct")
MOST_ROWS = 5_000
"""Kept in memory, in training states and in the files of an evaluation: a random choice of more."""


class OtherRows(ValueError):
    """An evaluation saw other rows than the first one."""


class ProbeRows:
    """Losses of the same rows at every evaluation."""

    def __init__(self) -> None:
        self.samples = np.zeros(0, dtype=np.int64)
        self.documents = np.zeros(0, dtype=np.int64)
        self.tokens = np.zeros(0)
        self.nll: list[np.ndarray] = []
        self.right: list[np.ndarray] | None = None
        self.base_columns: Columns | None = None
        self.seed = 0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def known(self) -> bool:
        return bool(self.nll)

    @property
    def base(self) -> np.ndarray | None:
        """[n] nll under the untouched base."""
        return None if self.base_columns is None or not self.known else self._own(self.base_columns, "nll")

    @property
    def first_half(self) -> np.ndarray:
        """[n] booleans."""
        return Halves(self.samples, self.documents, self.seed).first(self.samples)

    @staticmethod
    def merged(parts: Iterable[Mapping[str, Sequence[Any]]]) -> Columns:
        """Per-example columns of several batches in the order of sample_id; empty where there are none."""
        listed = [part for part in parts if len(part.get("sample_id", ()))]
        if not listed:
            return {}
        kept = [name for name in COLUMNS if name in listed[0]]
        columns = {name: np.concatenate([np.asarray(part[name]) for part in listed]) for name in kept}
        order = np.argsort(columns["sample_id"], kind="stable")
        return {name: values[order] for name, values in columns.items()}

    def add(self, columns: Columns, documents: np.ndarray, seed: int) -> None:
        """One more evaluation; the first one decides which rows are kept.

        Args:
            columns: as ``merged`` gives them.
            documents: [n] the document of each row.
            seed: of halves and of what is kept of very many rows.

        Raises:
            OtherRows: a kept row is not among them.
        """
        if not self.known:
            count = len(columns["sample_id"])
            chosen = np.random.default_rng(seed).permutation(count)[:MOST_ROWS]
            chosen.sort()
            self.samples, self.documents = columns["sample_id"][chosen], documents[chosen]
            self.tokens, self.seed = columns["tokens"][chosen].astype(np.float64), seed
            self.right = [] if "correct" in columns else None
            if self.base_columns is not None:
                self.base_columns = self.known_to(self.base_columns) or None
        self.nll.append(self._own(columns, "nll").astype(np.float32))
        if self.right is not None:
            self.right.append(self._own(columns, "correct").astype(np.float32))

    def kept(self, columns: Columns) -> Columns:
        """The rows that are kept, of the columns of an evaluation.

        Raises:
            OtherRows: a kept row is not among them.
        """
        return {name: self._own(columns, name) for name in columns}

    def known_to(self, columns: Columns) -> Columns:
        """The kept rows under something else; empty where it has not seen all of them."""
        try:
            return self.kept(columns) if columns else {}
        except OtherRows:
            return {}

    def take_base(self, columns: Columns) -> None:
        """The same rows under the untouched base."""
        self.base_columns = columns or None

    def probe_set(self, mask: np.ndarray | None = None) -> ProbeSet:
        """All rows, or those of a mask [n]."""
        own = np.ones(len(self), dtype=bool) if mask is None else mask
        right = None if self.right is None else np.stack(self.right)[:, own]
        return ProbeSet(np.stack(self.nll)[:, own], self.tokens[own], right, self.documents[own])

    def state(self) -> dict[str, Any]:
        arrays = {"samples": self.samples, "documents": self.documents, "tokens": self.tokens}
        arrays |= {"nll": np.stack(self.nll)} if self.nll else {}
        arrays |= {"right": np.stack(self.right)} if self.right else {}
        arrays |= {f"base_{name}": values for name, values in (self.base_columns or {}).items()}
        return {"seed": self.seed} | {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}

    def restore(self, state: dict[str, Any]) -> None:
        arrays = {name: value.numpy() for name, value in state.items() if name != "seed"}
        self.seed = state["seed"]
        self.samples, self.documents, self.tokens = arrays["samples"], arrays["documents"], arrays["tokens"]
        self.nll = list(arrays.get("nll", ()))
        self.right = list(arrays["right"]) if "right" in arrays else None
        base = {name.removeprefix("base_"): values for name, values in arrays.items() if name.startswith("base_")}
        self.base_columns = base or None

    def _own(self, columns: Columns, name: str) -> np.ndarray:
        at = np.searchsorted(columns["sample_id"], self.samples)
        at = np.minimum(at, len(columns["sample_id"]) - 1)
        if not np.array_equal(columns["sample_id"][at], self.samples):
            raise OtherRows
        return columns[name][at]


def mean_accuracy(columns: Columns) -> float:
    """Share of the supervised tokens."""
    return float((columns["correct"] * columns["tokens"]).sum() / columns["tokens"].sum())


def mean_nll(columns: Columns) -> float:
    """Nats per supervised token."""
    return float(columns["nll"].sum() / columns["tokens"].sum())
