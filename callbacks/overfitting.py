"""A verdict on the fit of a run, at every validation and at its end, and what is done about it."""

import sys
from dataclasses import asdict, replace
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer

from ..contracts.errors import UserError
from ..contracts.metrics import REFERENCES, strongest_reference
from ..contracts.verdict import Evidence, Remedy, Verdict
from .baseline import Baseline
from .best_checkpoint import BestCheckpoint
from .evaluation import callbacks_of, finetuner, trial_batches
from .evidence.judge import judge
from .evidence.recipe import Recipe
from .evidence.settings import Metric, Reference, Settings
from .measure import Measure, measures_of
from .probe_rows import Columns, mean_accuracy, mean_nll
from .probes import Probes, probes_of, require_probes_before
from .run_record import RunRecord

LOGGED = {
    "given away": "verdict/given_away",
    "membership AUC": "verdict/membership_auc",
    "gap growth": "verdict/gap_growth",
}
LABELS = {"underfitting": -1.0, "healthy": 0.0, "overfitting": 1.0}


class Overfitting(Measure):
    """Judges the losses that ``Probes`` keeps (``evidence/judge.py``: what each label means, and its error rate).

    At every validation and once more at the end of training, where the last weights have been evaluated. During the
    run the looks share the error ``alpha``, and no run is called underfitting; at the end all of ``alpha`` is spent
    again. Logged: ``verdict/given_away``, ``verdict/membership_auc``, ``verdict/gap_growth``, ``verdict/label`` (-1
    underfitting, 0 healthy, 1 overfitting; left out while undecided), and the judged rows' gap with its interval as
    ``gap/value``, ``gap/low`` and ``gap/high``. A line on standard error says when the label changes. The first rank
    judges for all.

    Actions: ``report`` says so; ``stop`` ends training at the validation that finds overfitting; ``restore`` stops and
    refuses a trainer without a ``BestCheckpoint``. Nothing else is left for it to do: that callback, which every
    configured run has, keeps the best weights as soon as they are seen and puts them back at the end into the module
    as it is, without loading the base again. Which weights are best is up to the run's ``monitor``; set it to
    ``val/nll`` where the verdict and the choice are to speak of the same loss.

    Costs no pass over data: some milliseconds a validation.

    Args:
        action: what is done about overfitting.
        metric: what is judged: ``nll``, or ``accuracy`` (the share of supervised tokens that are wrong).
        alpha: error of the test for overfitting, one-sided.

    Raises:
        UserError: in ``setup``, where ``Probes`` does not stand before it, or nothing keeps weights to restore; where
            alpha is not between 0 and 0.5.
    """

    def __init__(
        self, action: Literal["report", "stop", "restore"] = "report", metric: Metric = "nll", alpha: float = 0.05
    ) -> None:
        if not 0 < alpha < 0.5:
            raise UserError(
                f"Overfitting(alpha={alpha}): alpha is the share of false alarms that is accepted, above 0 and below "
                "0.5; 0.05 is usual."
            )
        self.action, self.settings = action, Settings(alpha=alpha, metric=metric)
        self.verdict: Verdict | None = None
        self._concluded = False
        self._logged: dict[str, float] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._concluded = False
        if stage != "fit":
            return
        require_probes_before(self, trainer, "Overfitting reads what")
        if self.action == "restore" and _best_of(trainer) is None:
            raise UserError(
                "Overfitting(action: restore) gives the best weights back, and nothing in this trainer keeps them. Add "
                "finelab.callbacks.BestCheckpoint to trainer.callbacks, or use action: stop."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or trial_batches(trainer):
            return
        self._judge(trainer, pl_module, finished=False)
        if self.action != "report" and self.verdict is not None and self.verdict.label == "overfitting":
            trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where ``FinalEvaluation`` has not called: by now ``BestCheckpoint`` has evaluated the last weights."""
        self.conclude(trainer, pl_module)

    def conclude(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._concluded and not trial_batches(trainer):
            self._concluded = True
            self._judge(trainer, module, finished=True)

    def findings(self) -> dict[str, Any]:
        """What it found is the record's verdict."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"verdict": None if self.verdict is None else asdict(self.verdict), "logged": self._logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        said, self._logged = state_dict["verdict"], dict(state_dict["logged"])
        if said is not None:
            evidence = [Evidence(**each) for each in said["evidence"]]
            said = Verdict(**said | {"evidence": evidence, "remedies": [Remedy(**each) for each in said["remedies"]]})
        self.verdict = said

    def _judge(self, trainer: Trainer, module: LightningModule, finished: bool) -> None:
        before = "undecided" if self.verdict is None else self.verdict.label
        verdict = self._found(trainer, module, finished) if trainer.is_global_zero else None
        if verdict is not None:
            added = [evidence for measure in measures_of(trainer) for evidence in measure.evidence()]
            verdict = replace(verdict, evidence=[*verdict.evidence, *added])
        self.verdict = trainer.strategy.broadcast(verdict)
        if verdict is None:
            return
        values = logged(verdict)
        news = values if not finished else {k: v for k, v in values.items() if self._logged.get(k) != v}
        self._logged = values
        for logger in trainer.loggers if news else ():
            logger.log_metrics(news, step=trainer.global_step)
        if verdict.label != before:
            print(f"finelab: step {verdict.step:,}: {verdict.sentence}", file=sys.stderr, flush=True)

    def _found(self, trainer: Trainer, module: LightningModule, finished: bool) -> Verdict | None:
        probes = probes_of(trainer)
        assert probes is not None
        series = probes.series
        if series is None:
            why = probes.findings().get("missing", "")
            said = f"Undecided: {why}."
            return (
                Verdict("undecided", said, self.settings.metric, trainer.global_step, None, None) if finished else None
            )
        best = _best_of(trainer)
        kept = best.step if finished and best is not None and best.is_done else None
        settings = replace(self.settings, finished=finished, kept=kept, recipe=_recipe(trainer, module))
        return judge(series, settings, _reference(trainer, self.settings.metric, probes))


def logged(verdict: Verdict) -> dict[str, float]:
    """What of a verdict makes curves."""
    found = {LOGGED[each.name]: each.value for each in verdict.evidence if each.name in LOGGED}
    for each in verdict.evidence:
        if each.name == "gap" and each.low is not None and each.high is not None:
            # With a value of its own: a band is drawn only where all three have the same steps.
            found |= {"gap/value": each.value, "gap/low": each.low, "gap/high": each.high}
    return found | ({"verdict/label": LABELS[verdict.label]} if verdict.label in LABELS else {})


def _best_of(trainer: Trainer) -> BestCheckpoint | None:
    return next((each for each in callbacks_of(trainer) if isinstance(each, BestCheckpoint)), None)


def _reference(trainer: Trainer, metric: Metric, probes: Probes) -> Reference | None:
    """The strongest thing that training has to beat, and where it started from: on the rows that are judged."""
    baseline = next((each for each in callbacks_of(trainer) if isinstance(each, Baseline)), None)
    before = {} if baseline is None else baseline.results.before.get("validation", {})
    rows = {name: probes.reference(name) for name, metrics in before.items() if metric in metrics}
    losses = {name: _loss(columns, metric) for name, columns in rows.items() if columns}
    name = strongest_reference(before)
    if name is None or name not in losses:
        return None
    return Reference(REFERENCES.get(name, name).partition(",")[0], losses[name], next(iter(losses.values())))


def _loss(columns: Columns, metric: Metric) -> float:
    return mean_nll(columns) if metric == "nll" else 1.0 - mean_accuracy(columns)


def _recipe(trainer: Trainer, module: LightningModule) -> Recipe:
    """From the configuration of the run, or what can be seen of the module."""
    record = next((each for each in callbacks_of(trainer) if isinstance(each, RunRecord)), None)
    tuner = finetuner(module)
    lost = tuner.adapter.base_is == "lost"
    if record is not None:
        return replace(Recipe.of(record.run.config), base_lost=lost)
    return Recipe(
        target=type(tuner).__name__,
        adapter=type(tuner.adapter).__name__,
        regularizers=tuple(type(each).__name__ for each in tuner.regularizers),
        base_lost=lost,
    )
