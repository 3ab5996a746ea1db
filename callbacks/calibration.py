"""Whether a classifier's probabilities are frequencies, and whether one number would make them so. Legend: n
predictions, C classes."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ..contracts.batch import Batch
from ..contracts.verdict import Evidence
from ..models.classification_meter import brier
from ..models.generative import Generative
from ..models.likelihoods import Categorical
from ..models.reliability import equal_mass, equal_width
from ..models.set_meters import sets_apart
from .calibration_interval import CalibrationInterval
from .evaluation import finetuner, gathered, on_device, split_loader, undisturbed
from .figures.reliability_diagram import reliability_diagram
from .measure import Measure, missing
from .probes import probes_of
from .temperature import TemperatureFit
from .tensor_board import tensorboard_loggers

DRIFT = "confidence_minus_accuracy"
RUNNING_TEXT = (
    "calibration is a matter of answers, options or classes; over all tokens of a text, most of which follow from the "
    "ones before, it would say nothing of them"
)


class Calibration(Measure):
    """ECE, Brier score and NLL of the best weights, before and after one temperature (Guo et al., arXiv:1706.04599).

    The temperature T minimises the NLL of softmax(logits / T) on VAL-A (``TemperatureFit``); everything is measured on
    VAL-B, which neither it nor a verdict has chosen by. ECE has its 95% interval, and what chance alone would make of
    it with so few rows (``CalibrationInterval``): a model that is right with exactly these probabilities has an ECE
    above 0 too. Equal-mass ECE stands beside it. Nothing about the model changes; to use T, divide the logits by it.

    For targets that are one class out of several: classes, tags of words (each a prediction), choices. Two passes over
    the validation split at the end of a run, no logits kept.

    Logs ``calibration/confidence_minus_accuracy`` at every validation (above 0: overconfident; that it grows is one
    sign of overfitting), at the end ``calibration/temperature``, ``calibration/ece_before`` and
    ``calibration/ece_after``, and the picture ``calibration/reliability``. To a verdict it adds the calibration drift:
    how far mean confidence less accuracy has moved since the validation with the lowest NLL.

    Attributes:
        course: step, NLL and confidence less accuracy of every validation that has both.
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.course: list[list[float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        drift = trainer.callback_metrics.get(f"val/{DRIFT}")
        if drift is None or trainer.state.fn != "fit" or trainer.sanity_checking or not torch.isfinite(drift):
            return
        nll = float(trainer.callback_metrics.get("val/nll", math.nan))
        if math.isfinite(nll):
            before = [entry for entry in self.course if entry[0] != trainer.global_step]
            self.course = [*before, [float(trainer.global_step), nll, drift.item()]]
        for logger in trainer.loggers:
            logger.log_metrics({f"calibration/{DRIFT}": drift.item()}, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"course": self.course}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.course = [list(entry) for entry in state_dict["course"]]

    def evidence(self) -> list[Evidence]:
        if not self.course:
            return []
        (step, _, now), (best, _, then) = self.course[-1], min(self.course, key=lambda entry: entry[1])
        drift = now - then
        moved = "more confident than it is right" if drift > 0 else "less confident for what it is right"
        says = (
            f"mean confidence less accuracy {now:+.3f} at step {step:,.0f}, {then:+.3f} at the lowest NLL ({best:,.0f})"
        )
        if step == best:
            says = f"mean confidence less accuracy {now:+.3f}; the newest validation has the lowest NLL"
        elif drift:
            says += f": {moved} since"
        return [Evidence("calibration drift", drift, None, None, says)]

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        first = halves(trainer)
        if reason := unsuited(module) or ("" if first else "it needs the two halves of a validation, see Probes"):
            self.found = missing(reason)
            return
        with undisturbed(module):
            fit = TemperatureFit()
            for logits, targets, _ in scored(trainer, module, {sample for sample, chosen in first.items() if chosen}):
                fit.add(logits, targets)
            temperature = TemperatureFit.of_ranks(gathered(fit)).solve()
            other = {sample for sample, chosen in first.items() if not chosen}
            answers = [Answers(1.0)] if isinstance(temperature, str) else [Answers(1.0), Answers(temperature)]
            for batch in scored(trainer, module, other):
                for each in answers:
                    each.add(*batch)
        summaries = [Answers.of_ranks(gathered(each)).summary() for each in answers]
        nothing = missing(str(temperature))
        self.found = {
            "rows": {"val_a": len(first) - len(other), "val_b": len(other)},
            "temperature": nothing if isinstance(temperature, str) else temperature,
            "before": summaries[0],
            "after": nothing if isinstance(temperature, str) else summaries[1],
        }
        self._show(trainer)

    def findings(self) -> dict[str, Any]:
        return self.found

    def _show(self, trainer: Trainer) -> None:
        lines, scalars = {}, {}
        for when in ("before", "after"):
            part = self.found[when]
            if "missing" not in part:
                scalars[f"calibration/ece_{when}"] = part["ece"]
                lines[f"{when}: ECE {part['ece']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"] = part["reliability"]
        title = "validation half B"
        if "missing" not in self.found["after"]:
            scalars["calibration/temperature"] = self.found["temperature"]
            title += f", temperature {self.found['temperature']:.3g}"
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=trainer.global_step)
        for logger in tensorboard_loggers(trainer):
            picture = reliability_diagram(lines, title)
            logger.experiment.add_image("calibration/reliability", picture, trainer.global_step, dataformats="HWC")


class Answers:
    """Predictions of one temperature, as numbers a position: 5 of 8 bytes.

    Args:
        temperature: that divides the logits.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.parts: list[np.ndarray] = []

    def add(self, logits: Tensor, targets: Tensor, samples: list[int]) -> None:
        """logits [n, C], targets [n], the sample id of each."""
        values = logits.detach().cpu().double() / self.temperature
        labels, p = targets.cpu(), values.softmax(-1)
        confidence, prediction = p.max(-1)
        nll = torch.nn.functional.cross_entropy(values, labels, reduction="none")
        columns = (confidence, (prediction == labels).double(), nll, brier(p, labels), torch.tensor(samples).double())
        self.parts.append(torch.stack(columns).numpy())

    @classmethod
    def of_ranks(cls, ranks: Iterable["Answers"]) -> "Answers":
        listed = list(ranks)
        whole = cls(listed[0].temperature)
        whole.parts = [part for each in listed for part in each.parts]
        return whole

    def summary(self) -> dict[str, Any]:
        columns = np.concatenate([np.zeros((5, 0)), *self.parts], 1)
        confidence, right, nll, score, rows = columns[:, columns[-1].argsort(kind="stable")]  # however many ranks
        if not len(right):
            return missing("the second half of validation has no rows")
        if not np.isfinite([confidence, nll]).all():
            return missing("the model's probabilities are not numbers, or one of a label is 0")
        kept = torch.from_numpy(confidence), torch.from_numpy(right)
        bins = equal_width(*kept)
        return {
            "nll": float(nll.mean()),
            "brier": float(score.mean()),
            "ece": bins.error(),
            **asdict(CalibrationInterval.of(confidence, right, rows)),
            "ece_equal_mass": equal_mass(*kept).error(),
            "reliability": bins.table(),
        }


def unsuited(module: LightningModule) -> str:
    """Why there is nothing to calibrate; empty where there is."""
    tuner = finetuner(module)
    if isinstance(module, Generative):
        return RUNNING_TEXT
    return "" if isinstance(tuner.likelihood, Categorical) else "the target is not one class out of several"


def halves(trainer: Trainer) -> dict[int, bool]:
    """Sample id -> whether it is in VAL-A; empty where nothing was probed."""
    probes = probes_of(trainer)
    if probes is None or not probes.steps:
        return {}
    own = probes.validation
    return dict(zip(own.samples.tolist(), own.first_half.tolist(), strict=True))


def scored(trainer: Trainer, module: LightningModule, samples: set[int]) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Logits [n, C], targets [n] and sample ids [n] of these samples' positions, from this rank's validation batches;
    of several sets from those that are trained on."""
    sets = sets_apart(trainer, "validation")
    loaders: list[Iterable[Batch] | None] = [each.loader for each in sets if each.pooled]
    if not sets:
        loaders = [split_loader(trainer, "validation")]
    tuner = finetuner(module)
    for loader in loaders:
        for batch in on_device(loader or (), trainer):
            with trainer.precision_plugin.forward_context():
                found = tuner.score(batch)
            own = batch["sample_id"][found.rows].tolist()
            at = [index for index, sample in enumerate(own) if sample in samples]
            yield found.logits[at], found.targets[at], [own[index] for index in at]
