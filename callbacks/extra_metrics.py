"""Any metric of torchmetrics, from a configuration."""

from collections.abc import Callable
from typing import TypeAlias

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric

from ..contracts.errors import UserError
from ..contracts.metrics import MODES, Mode
from ..models.likelihoods import Bernoulli, Gaussian
from ..models.meter import Meter
from ..models.regularizers.regularizer import Likelihood
from .evaluation import finetuner
from .extra_meter import ExtraMeter, Given, Input

Readers: TypeAlias = dict[Input, Callable[[Tensor], Tensor]]

SOFT: Readers = {
    "predictions": lambda logits: logits.argmax(-1),
    "probabilities": lambda logits: logits.float().softmax(-1),
    "logits": lambda logits: logits.float(),
}
EACH: Readers = {
    "predictions": lambda logits: (logits > 0).long(),
    "probabilities": lambda logits: logits.float().sigmoid(),
    "logits": lambda logits: logits.float(),
}
NUMBERS: Readers = {"predictions": lambda logits: logits.float().squeeze(-1)}


class ExtraMetrics(Callback):
    """Metrics of torchmetrics beside the model's own: ``val/NAME`` at every validation, before and after training in
    the record, ``test/NAME`` where the test split is read, and a possible ``monitor``.

    For example, in a configuration::

        trainer:
          callbacks:
            - class_path: finelab.callbacks.ExtraMetrics
              init_args:
                metrics:
                  auroc: {class_path: torchmetrics.classification.MulticlassAUROC, init_args: {num_classes: 6}}
                  kappa: {class_path: torchmetrics.classification.MulticlassCohenKappa, init_args: {num_classes: 6}}

    A metric is updated with every batch's supervised positions: what it is given, and the targets. Its state is of one
    evaluation of one set, synchronised over the ranks by torchmetrics, and in no checkpoint. A result that is not
    finite, or an error, is missing with its reason; several numbers of a mapping are ``NAME_KEY``, a vector is a table
    in the record. A metric that keeps every prediction (AUROC without thresholds) keeps them for a language model too,
    with a number for each word of the vocabulary.

    Args:
        metrics: name -> metric. Whether more of it is better says the metric (``higher_is_better``); one that does not
            say cannot be the monitor.
        input: what they are given: ``predictions`` ([N] class indices, [N, C] of 0 and 1 for a multi-label target, [N]
            numbers of a regression), ``probabilities`` ([N, C]) or ``logits`` ([N, C]). By default probabilities, of a
            regression predictions.

    Raises:
        UserError: there is no metric, or a name is no word or one of finelab's own.
    """

    def __init__(self, metrics: dict[str, Metric], input: Input | None = None) -> None:
        self.metrics = dict(metrics)
        self.input: Input | None = input
        self.given: Given | None = None
        if wrong := [name for name in self.metrics if not name.isidentifier()]:
            raise UserError(
                f"ExtraMetrics: {wrong[0]!r} is no name of a metric; use letters, digits and underscores, since it "
                "becomes val/NAME."
            )
        if taken := sorted(self.metrics.keys() & MODES.keys()):
            raise UserError(f"ExtraMetrics: {taken[0]!r} is a name of finelab's own; choose another one.")
        if not self.metrics:
            raise UserError("ExtraMetrics: metrics is empty; give at least one, NAME: {class_path: torchmetrics....}.")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raises:
        UserError: the target has no such input.
        """
        tuner = finetuner(pl_module)
        self.given = given(self.input, tuner.likelihood, type(tuner).__name__)
        if self.fresh not in tuner.added_meters:
            tuner.added_meters.append(self.fresh)

    def fresh(self) -> Meter:
        """A meter of metrics that have seen nothing."""
        assert self.given is not None
        return ExtraMeter({name: unused(metric) for name, metric in self.metrics.items()}, self.given)

    def directions(self) -> dict[str, Mode]:
        """Which way is better, of those that say so."""
        ways = {name: metric.higher_is_better for name, metric in self.metrics.items()}
        return {name: "max" if more else "min" for name, more in ways.items() if more is not None}


def given(wanted: Input | None, likelihood: Likelihood, target: str) -> Given:
    """Raises:
    UserError: the target has no such input.
    """
    readers = NUMBERS if isinstance(likelihood, Gaussian) else EACH if isinstance(likelihood, Bernoulli) else SOFT
    name: Input = wanted if wanted is not None else "probabilities" if "probabilities" in readers else "predictions"
    if name not in readers:
        raise UserError(
            f"ExtraMetrics: input is {name!r}, and {target} has {' or '.join(readers)} only. Leave input out."
        )
    whole = isinstance(likelihood, Bernoulli)
    return Given(name, readers[name], (lambda targets: targets.long()) if whole else (lambda targets: targets))


def unused(metric: Metric) -> Metric:
    copy = metric.clone()
    copy.reset()
    return copy
