"""Streaming metrics of a whole split: every number is a mean over its supervised tokens, whatever the batch size."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelStatScores,
)

from ..contracts.batch import Batch
from .losses import SUM_DTYPE
from .scored import Scored


class Meter(nn.Module):
    """Accumulates batches and is read once at the end; ``compute`` synchronises over ranks."""

    at_times: frozenset[str] = frozenset()
    """Metrics that ``compute`` leaves out where the rows or the predictions do not define them."""

    def __init__(self) -> None:
        super().__init__()
        self.nll, self.tokens = double_sum(), double_sum()

    def update(self, scored: Scored, batch: Batch) -> None:
        self.nll.update(scored.nll.to(SUM_DTYPE).sum())
        self.tokens.update(len(scored.targets))

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metrics by name; nll is in nats per supervised token."""

    def missing(self) -> dict[str, str]:
        """Metrics that the rows or the predictions do not define -> why; to be asked after ``compute``."""
        return {}

    def tables(self) -> dict[str, Any]:
        """What is no single number, as JSON: a confusion matrix, bins."""
        return {}

    def logged(self) -> dict[str, float]:
        """With NaN for what is undefined this time, so that nobody takes an earlier value for this one."""
        found = self.compute()
        return dict.fromkeys((*self.at_times, *self.missing()), math.nan) | found

    def mean_nll(self) -> float:
        return (self.nll.compute() / self.tokens.compute()).item()

    def reset(self) -> None:
        for module in self.modules():
            if isinstance(module, Metric):
                module.reset()


class ClassificationMeter(Meter):
    """nll, accuracy, macro-F1 and ECE (15 equal-width bins on the top probability; Guo et al., arXiv:1706.04599).

    Args:
        classes: number of labels.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.macro_f1 = MulticlassF1Score(classes, average="macro")
        self.ece = MulticlassCalibrationError(classes, n_bins=15, norm="l1")

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        probabilities = scored.logits.float().softmax(-1)
        for metric in (self.accuracy, self.macro_f1, self.ece):
            metric.update(probabilities, scored.targets)

    def compute(self) -> dict[str, float]:
        return {
            "nll": self.mean_nll(),
            "accuracy": self.accuracy.compute().item(),
            "macro_f1": self.macro_f1.compute().item(),
            "ece": self.ece.compute().item(),
        }


class MultiLabelMeter(Meter):
    """nll of a row's answers together, micro- and macro-F1 and subset accuracy (all answers of a row right) at a
    threshold of one half, and the mean of the average precision over those labels that some row has; it is undefined
    where no row has any.

    Args:
        labels: how many.
    """

    at_times = frozenset({"mean_average_precision"})

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.micro_f1 = MultilabelF1Score(labels, average="micro")
        self.macro_f1 = MultilabelF1Score(labels, average="macro")
        self.subset_accuracy = MultilabelExactMatch(labels)
        self.average_precision = MultilabelAveragePrecision(labels, average=None)
        self.counts = MultilabelStatScores(labels, average=None)

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        probabilities = scored.logits.float().sigmoid()
        for metric in (self.micro_f1, self.macro_f1, self.subset_accuracy, self.average_precision, self.counts):
            metric.update(probabilities, scored.targets)

    def compute(self) -> dict[str, float]:
        found = {
            "nll": self.mean_nll(),
            "micro_f1": self.micro_f1.compute().item(),
            "macro_f1": self.macro_f1.compute().item(),
            "subset_accuracy": self.subset_accuracy.compute().item(),
        }
        # Of a label that no row has torchmetrics says 0, which says nothing about the model.
        precisions, rows = self.average_precision.compute(), self.counts.compute()[..., -1]
        if bool((rows > 0).any()):
            found["mean_average_precision"] = precisions[rows > 0].mean().item()
        return found


class ChoiceMeter(Meter):
    """nll and accuracy, whatever the number of choices."""

    def __init__(self) -> None:
        super().__init__()
        self.right = double_sum()

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        self.right.update((scored.logits.argmax(-1) == scored.targets).sum())

    def compute(self) -> dict[str, float]:
        return {"nll": self.mean_nll(), "accuracy": (self.right.compute() / self.tokens.compute()).item()}


class LanguageModelMeter(Meter):
    """nll, perplexity, and bits per character and per UTF-8 byte, which compare across tokenizers.

    Characters and bytes come from the batch (see the batch contract); without them the two are left out, and of sets
    together they speak of those sets that have them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chars, self.bytes, self.counted = double_sum(), double_sum(), double_sum()

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        if "chars" in batch:
            self.counted.update(scored.nll.to(SUM_DTYPE).sum())
            self.chars.update(batch["chars"].sum())
            self.bytes.update(batch["bytes"].sum())

    def compute(self) -> dict[str, float]:
        nll = self.mean_nll()
        found = {"nll": nll, "perplexity": math.exp(min(nll, 700.0))}
        if self.chars.update_called:
            bits, chars, size = self.counted.compute() / math.log(2), self.chars.compute(), self.bytes.compute()
            found |= {"bits_per_char": (bits / chars).item(), "bits_per_byte": (bits / size).item()}
        return found


def double_sum() -> SumMetric:
    metric = SumMetric(nan_strategy="disable")
    metric.set_dtype(SUM_DTYPE)
    return metric


def by_row(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Sum [N] values into their batch rows, giving [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, rows, values)


def token_columns(scored: Scored, batch: Batch) -> dict[str, list]:
    """The per-example columns of a target with several supervised tokens a row."""
    rows = len(batch["sample_id"])
    tokens = by_row(torch.ones_like(scored.nll), scored.rows, rows)
    right = by_row((scored.logits.argmax(-1) == scored.targets).to(scored.nll.dtype), scored.rows, rows)
    columns = {
        "sample_id": batch["sample_id"].tolist(),
        "source_id": batch["source_id"].tolist(),
        "nll": by_row(scored.nll, scored.rows, rows).tolist(),
        "tokens": tokens.long().tolist(),
        "correct": (right / tokens.clamp(min=1)).tolist(),
    }
    return columns | {key: batch[key].tolist() for key in ("chars", "bytes") if key in batch}
