"""The tuned model beside its references, once, at the end."""

from contextlib import nullcontext

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from .best_checkpoint import BestCheckpoint
from .documents import with_documents
from .evaluation import untouched_base
from .measure import measures_of
from .results import Results
from .split_evaluation import evaluate_split, has_split, logged


class FinalEvaluation(Callback):
    """Evaluates the best weights on the validation split, lets every ``Measure`` look at them, and, only if told so,
    everything on the test split.

    Args:
        results: shared with ``Baseline``, whose references are evaluated on the test split by the untouched base.
        best: whose weights count; None takes the last ones.
        evaluate_test: read the test split. Otherwise its loader is never asked for.
    """

    def __init__(
        self, results: Results | None = None, best: BestCheckpoint | None = None, evaluate_test: bool = False
    ) -> None:
        self.results = results or Results()
        self.best = best
        self.evaluate_test = evaluate_test

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best is not None:
            self.best.finish(trainer, pl_module)
        rank_zero_info("Evaluating the best weights ...")
        for split, evaluation in evaluate_split(pl_module, "validation", trainer).items():
            self.results.add_after(split, with_documents(evaluation, split, trainer))
        for measure in measures_of(trainer):
            measure.measure_best(trainer, pl_module)
        for measure in measures_of(trainer):
            measure.conclude(trainer, pl_module)
        if self.evaluate_test:
            self._evaluate_test(trainer, pl_module)

    def _evaluate_test(self, trainer: Trainer, module: LightningModule) -> None:
        results = self.results
        if not has_split(trainer, "test"):
            results.notes.append("evaluate_test is true, and the data has no test split.")
            return
        results.test_read = True
        with untouched_base(module) if results.references else nullcontext():
            for name, score in results.references.items():
                for split, evaluation in evaluate_split(module, "test", trainer, score).items():
                    results.add_before(split, name, evaluation)
        found = evaluate_split(module, "test", trainer)
        for split, evaluation in found.items():
            results.add_after(split, with_documents(evaluation, split, trainer))
        for logger in trainer.loggers:
            logger.log_metrics(logged(found), step=trainer.global_step)
