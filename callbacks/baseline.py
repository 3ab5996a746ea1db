"""What the task costs without training: the number every tuned result has to beat."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource
from ..models.scored import Scored
from .best_checkpoint import watched
from .early_stopping import EarlyStopping
from .evaluation import Score, data_of, finetuner, gathered, on_device, split_loader, undisturbed, untouched_base
from .frozen_feature_probe import FrozenFeatureProbe
from .measure import measures_of
from .monitor import require_logged
from .probes import probes_of
from .results import Results
from .split_evaluation import evaluate_split, logged

if TYPE_CHECKING:
    from ..models.headed_encoder import HeadedEncoder


LOST = (
    "No reference of the base: {adapter} has rewritten its weights, so that neither what training starts from nor the "
    "adapter switched off is the base. Evaluate the base on its own to compare."
)


class Baseline(Callback):
    """Evaluates the validation split before the first step, and refuses to watch a metric that this does not give.

    A module that can do the task from the start (a language model) has a reference ``base``: the untouched base, which
    step 0 of an adapter need not be. Where the adapter has rewritten it, a note says so and there is none. An
    untrained head says nothing; its references are the target's best guess without a text, from the training rows
    (``majority`` by the class frequencies, ``mean`` of a regression, ...), and where the target is a class ``probe``
    (``FrozenFeatureProbe`` on what the head reads of the untouched base).

    Logs ``baseline/NAME/METRIC`` of the validation split for each of them at step 0, and ``base`` as the model's own
    ``val/METRIC`` there too.

    A run that was resumed knows all of this from its training state.

    Args:
        results: where the finding goes, shared with ``FinalEvaluation``.
        probe_rows: at most about so many training rows (words, where those have the targets) fit the probe, taken at
            even distances.
        evaluate_test: a resumed run makes the references again, since the test split is still to be compared with them.
    """

    def __init__(self, results: Results | None = None, probe_rows: int = 20_000, evaluate_test: bool = False) -> None:
        self.results = results or Results()
        self.probe_rows = probe_rows
        self.evaluate_test = evaluate_test
        self.lost = self.resumed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tuner = finetuner(pl_module)
        tuner.keep_start()
        self.lost = tuner.adapter.base_is == "lost"
        if self.resumed:
            self._restore_references(trainer, pl_module)
            return
        rank_zero_info("Evaluating before training, to have something to compare with ...")
        if self.lost:
            self.results.note(LOST.format(adapter=type(tuner.adapter).__name__))
        with untouched_base(pl_module):
            scored = self._evaluate_references(trainer, pl_module)
            for measure in () if self.lost else measures_of(trainer):
                measure.measure_base(trainer, pl_module)
        for monitor in all_watched(trainer, pl_module) if scored else ():
            require_logged(monitor, scored)

    def state_dict(self) -> dict[str, Any]:
        return self.results.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.results.restore(state_dict)
        self.resumed = True

    def _restore_references(self, trainer: Trainer, module: LightningModule) -> None:
        if self.evaluate_test:
            with untouched_base(module):
                self.results.references = self._references(trainer, module)

    def _references(self, trainer: Trainer, module: LightningModule) -> dict[str, Score]:
        if finetuner(module).has_fresh_head:
            return self._references_of_a_fresh_head(trainer, module)
        return {} if self.lost else {"base": finetuner(module).score}

    def _evaluate_references(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        """All that was found, as it would be logged."""
        self.results.references = self._references(trainer, module)
        scored: dict[str, float] = {}
        for name, score in self.results.references.items():
            found = evaluate_split(module, "validation", trainer, score)
            scored |= logged(found)
            for split, evaluation in found.items():
                self.results.add_before(split, name, evaluation)
            probes = probes_of(trainer)
            if probes is not None and "validation" in found:
                probes.take_reference(name, found["validation"])
            for logger in trainer.loggers if found else ():
                own = {f"baseline/{name}/{key.removeprefix('val/')}": value for key, value in logged(found).items()}
                logger.log_metrics(own | (logged(found) if name == "base" else {}), step=trainer.global_step)
        return scored

    def _references_of_a_fresh_head(self, trainer: Trainer, module: LightningModule) -> dict[str, Score]:
        train = split_loader(trainer, "train") if isinstance(data_of(trainer), EvaluationSource) else None
        if train is None:
            self.results.note("No reference before training: the data module has no evaluation_loader('train').")
            return {}
        tuner = cast("HeadedEncoder", module)
        features, labels, every = self._frozen_features(train, trainer, module, self.probe_rows)
        constant = tuner.constant(every.to(tuner.device))

        def guess(batch: Batch) -> Scored:
            return Scored.of(tuner.constant_logits(constant, batch), *tuner.targets(batch), tuner.likelihood)

        if not tuner.probed or self.lost:
            return {tuner.guess: guess}
        validation = split_loader(trainer, "validation")
        held_out = None
        if validation is not None:
            held_out = self._frozen_features(validation, trainer, module, self.probe_rows)[:2]
        probe = FrozenFeatureProbe(tuner.outputs)
        probe.fit(features, labels, held_out)

        def frozen_probe(batch: Batch) -> Scored:
            targets, rows = tuner.targets(batch)
            logits = probe.logits(tuner.features(batch)).to(targets.device, torch.float32)
            return Scored.of(logits, targets, rows)

        return {tuner.guess: guess, "probe": frozen_probe}

    def _frozen_features(
        self, loader: Iterable[Batch], trainer: Trainer, module: LightningModule, cap: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features [n, H] and targets [n, ...] of at most about ``cap`` positions, and all targets of the split.

        A target that is not probed gives no features.
        """
        tuner = cast("HeadedEncoder", module)
        stride = self._batches_per_sampled_batch(loader, trainer.world_size, cap, tuner)
        features, labels, every_label = [], [], []
        with undisturbed(module):
            for index, batch in enumerate(on_device(loader, trainer)):
                targets = tuner.targets(batch)[0].cpu()
                every_label.append(targets)
                if tuner.probed and index % stride == 0:
                    with trainer.precision_plugin.forward_context():
                        features.append(tuner.features(batch).float().cpu())
                    labels.append(targets)
        parts = gathered((features, labels, every_label))
        every = torch.cat([batch for part in parts for batch in part[2]])
        if not tuner.probed:
            return torch.zeros(0), torch.zeros(0), every
        return (
            torch.cat([x for part in parts for x in part[0]]),
            torch.cat([y for part in parts for y in part[1]]),
            every,
        )

    @staticmethod
    def _batches_per_sampled_batch(loader: Iterable[Batch], ranks: int, cap: int, tuner: "HeadedEncoder") -> int:
        first = next(iter(islice(loader, 1)), None)
        if first is None or not isinstance(loader, torch.utils.data.DataLoader):
            return 1
        return max(1, math.ceil(len(loader) * len(tuner.targets(first)[0]) * ranks / cap))


def all_watched(trainer: Trainer, module: LightningModule) -> list[str]:
    """What picks the weights and what may stop the run, but for a metric of the user's own, which has a mode."""
    stops = [each for each in trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)]
    return [watched(trainer, module)[0], *(stop.monitor for stop in stops if not stop.given_mode)]
