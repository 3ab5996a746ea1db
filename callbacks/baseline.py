"""What the task costs without training: the number every tuned result has to beat."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..contracts.batch import IGNORE, Batch
from ..contracts.data import EvaluationSource
from ..models.scored import Scored
from .evaluation import (
    InitialWeights,
    Score,
    data_of,
    evaluate,
    finetuner,
    gathered,
    on_device,
    split_loader,
    undisturbed,
)
from .frozen_feature_probe import FrozenFeatureProbe
from .results import Results

if TYPE_CHECKING:
    from ..models.sequence_classifier import SequenceClassifier


class Baseline(Callback):
    """Evaluates the validation split before the first step.

    A module that can do the task from the start (a language model) is its own reference, ``base``. The untrained head
    of a classifier says nothing; its references are ``majority`` (the class frequencies of the training rows) and
    ``probe`` (``FrozenFeatureProbe`` on the base's pooled features).

    Args:
        results: where the finding goes, shared with ``FinalEvaluation``.
        probe_rows: at most about so many training rows fit the probe, taken at even distances.
    """

    def __init__(self, results: Results | None = None, probe_rows: int = 20_000) -> None:
        self.results = results or Results()
        self.probe_rows = probe_rows

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rank_zero_info("Evaluating before training, to have something to compare with ...")
        tuner = finetuner(pl_module)
        self.results.initial = InitialWeights(pl_module)
        if tuner.has_fresh_head:
            self.results.references = self._references_of_a_classifier(trainer, pl_module)
        else:
            self.results.references = {"base": tuner.score}
        validation = split_loader(trainer, "validation")
        if validation is None:
            return
        for name, score in self.results.references.items():
            self.results.add_before("validation", name, evaluate(pl_module, validation, trainer, score))
        if "base" in self.results.references:
            metrics = {f"val/{key}": value for key, value in self.results.before["validation"]["base"].items()}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)

    def _references_of_a_classifier(self, trainer: Trainer, module: LightningModule) -> dict[str, Score]:
        train = split_loader(trainer, "train") if isinstance(data_of(trainer), EvaluationSource) else None
        if train is None:
            self.results.notes.append(
                "No majority class and no probe before training: the data module has no evaluation_loader('train')."
            )
            return {}
        features, labels, counts = self._frozen_features(train, trainer, module, self.probe_rows)
        validation = split_loader(trainer, "validation")
        held_out = None
        if validation is not None:
            held_out = self._frozen_features(validation, trainer, module, self.probe_rows)[:2]
        probe = FrozenFeatureProbe(len(counts))
        probe.fit(features, labels, held_out)
        # Half a row for a class without one: a log of zero would make the reference's NLL infinite.
        log_frequencies = (counts.clamp(min=0.5) / counts.clamp(min=0.5).sum()).log()
        tuner = cast("SequenceClassifier", module)

        def majority(batch: Batch) -> Scored:
            rows, targets = supervised_rows(batch)
            return Scored.of(log_frequencies.expand(len(rows), -1), targets, rows)

        def frozen_probe(batch: Batch) -> Scored:
            rows, targets = supervised_rows(batch)
            logits = probe.logits(tuner.features(batch)[rows]).to(targets.device, torch.float32)
            return Scored.of(logits, targets, rows)

        return {"majority": majority, "probe": frozen_probe}

    def _frozen_features(
        self, loader: Iterable[Batch], trainer: Trainer, module: LightningModule, cap: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features [n, H] and labels [n] of at most about ``cap`` rows, and label counts [C] of all rows."""
        tuner = cast("SequenceClassifier", module)
        stride = self._batches_per_sampled_batch(loader, trainer.world_size, cap)
        features, labels, every_label = [], [], []
        with undisturbed(module):
            for index, batch in enumerate(on_device(loader, trainer)):
                rows, targets = supervised_rows(batch)
                every_label.append(targets.cpu())
                if index % stride == 0:
                    with trainer.precision_plugin.forward_context():
                        found = tuner.features(batch)
                    features.append(found[rows].float().cpu())
                    labels.append(targets.cpu())
        parts = gathered((torch.cat(features), torch.cat(labels), torch.cat(every_label)))
        counts = torch.bincount(torch.cat([part[2] for part in parts]), minlength=len(tuner.labels))
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), counts.to(tuner.device)

    @staticmethod
    def _batches_per_sampled_batch(loader: Iterable[Batch], ranks: int, cap: int) -> int:
        first = next(iter(islice(loader, 1)), None)
        if first is None or not isinstance(loader, torch.utils.data.DataLoader):
            return 1
        return max(1, math.ceil(len(loader) * len(first["sample_id"]) * ranks / cap))


def supervised_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows that carry a class label, and the labels."""
    rows = (batch["labels"] != IGNORE).nonzero().squeeze(1)
    return rows, batch["labels"][rows]
