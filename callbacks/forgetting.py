"""What a model loses of its base while it learns: its loss on general text, and how far its predictions have gone."""

import math
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer

from ..contracts.errors import UserError
from .baseline import LOST
from .beside_base import divergences, feature_drift
from .best_checkpoint import watched
from .differences import references
from .evaluation import example_columns, finetuner, gathered, split_loader, trial_batches
from .evidence.contrast import ratio
from .figures.learning_vs_forgetting import learning_vs_forgetting
from .general_text import GeneralText, Given, general_text
from .measure import Measure, missing
from .movement import watches
from .sampled_rows import Row, batches_of, sampled_rows
from .tensor_board import tensorboard_loggers

ROWS_OF_A_BATCH = 16
KEPT = ("nll", "tokens", "bytes", "chars")
Columns = dict[str, np.ndarray]


class Forgetting(Measure):
    """Learning against forgetting, at every validation on a few rows and at the end on more.

    - ``forgetting/general_nll``: nats per token on GENERAL, text of the base's own domain that is not trained on. In
      the record before (the untouched base) and after (the best weights), with bits per byte and the interval of the
      difference, paired by row and clustered by document.
    - ``forgetting/kl_base_tuned`` and ``forgetting/kl_tuned_base``: KL(base || tuned) and KL(tuned || base) on
      validation rows, nats per supervised token, exact over the vocabulary. On the new task's own text this predicts
      how much is forgotten elsewhere (arXiv:2509.04259), so that it says something even without GENERAL.
    - ``forgetting/feature_drift`` instead, where a new head stands on an encoder: its predictions begin as noise and
      have no base. It is 1 - cosine of what the head reads, tuned against base.

    Rows are drawn by their sample id, the same ones every time. ``course`` of the findings has for each validation the
    gain of the monitored metric over the strongest reference (positive is better) beside these, and the chart
    ``forgetting/learning_vs_forgetting`` shows it. Its origin is the untouched base; of a new head it is the
    strongest reference on the frozen base (the frozen-feature probe where there is one), not the new head's start.

    Costs per validation a forward of ``rows`` rows of GENERAL and two of as many validation rows (one by the base:
    the adapter switched off, or the weights of the start put in place). Memory: the tuned logits of a batch or 256 MiB
    wait for the base's. What cannot be measured is missing with its reason; an adapter that has rewritten its base
    (LoftQ, KaSA) leaves nothing to compare with.

    Args:
        general: a file, a folder, split -> file or a hub id (of several splits validation, else test), read as plain
            documents; or the name of one of ``data.eval_sets`` with a validation split. None measures none.
        text: column of the document.
        context: tokens of a window of it.
        rows: looked at in each validation.
        final_rows: looked at before and after training.
        cache_dir: where the tokens of ``general`` are kept.

    Raises:
        UserError: no row to look at, ``general`` for a new head, or one that cannot be read or is trained on.
    """

    def __init__(
        self,
        general: Given = None,
        text: str = "text",
        context: int = 256,
        rows: int = 64,
        final_rows: int = 512,
        cache_dir: str = "~/.cache/finelab/tokens",
    ) -> None:
        if not 0 < rows <= final_rows:
            raise UserError(
                f"finelab.callbacks.Forgetting: rows is {rows} and final_rows {final_rows}; rows is at least 1, and "
                "final_rows no less."
            )
        self.given, self.text, self.context, self.cache_dir = general, text, context, cache_dir
        self.rows, self.final_rows = rows, final_rows
        self.course: list[dict[str, float]] = []
        self.base: dict[str, list[float]] = {}
        self.general: GeneralText | str = "nothing was measured"
        self.no_base: str | None = None
        self.no_prompts: str | None = None
        self.found: dict[str, Any] = {}
        self._fingerprint: str | None = None
        self._texts: list[Row] = []
        self._prompts: list[Row] = []
        self._fresh = False
        self._pending: dict[str, float] | None = None
        self._looked = False

    # ---- the moments

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.given is not None and finetuner(pl_module).has_fresh_head:
            raise UserError(
                f"finelab.callbacks.Forgetting: general is {str(self.given)!r}, and {type(pl_module).__name__} reads a "
                "new head: only a language model gives texts a likelihood that could get worse. Remove general; the "
                "drift of the features is measured without it."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        finetuner(pl_module).keep_start()
        self._look(trainer, pl_module)

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        self._look(trainer, module)
        if not self._texts:
            return
        assert isinstance(self.general, GeneralText)
        columns = self._columns(trainer, module, len(self._texts))
        self.base = {name: columns[name].tolist() for name in KEPT if name in columns}
        self._fingerprint = self.general.fingerprint
        for logger in trainer.loggers:
            logger.log_metrics({"forgetting/general_nll": mean_nll(self._base(self.rows))}, step=trainer.global_step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not watches(trainer) or any(entry["step"] == trainer.global_step for entry in self.course):
            return
        found = self._beside_base(trainer, pl_module, self.rows)
        if self._texts:
            found["general_nll"] = mean_nll(self._columns(trainer, pl_module, self.rows))
        logged = {f"forgetting/{name}": value for name, value in found.items()}
        pl_module.log_dict(logged, rank_zero_only=False, batch_size=1)
        if self.base:
            found["forgetting"] = found["general_nll"] - mean_nll(self._base(self.rows))
        self._pending = found

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None:
            learning = self._learning(trainer, pl_module)
            self.course.append({"step": trainer.global_step, **learning, **self._pending})
        self._pending = None

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        if trial_batches(trainer):
            return
        self.found = {"general": self._general_after(trainer, module)}
        beside = self._beside_base(trainer, module, self.final_rows)
        reason = missing(self.no_base or self.no_prompts or "there is no supervised token to compare on")
        head = missing("a new head's predictions begin as noise, and the base has none to compare with")
        kl = {name: beside.get(name, head if self._fresh else reason) for name in ("kl_base_tuned", "kl_tuned_base")}
        self.found["kl"] = kl | {"rows": len(self._prompts)}
        if self._fresh:
            self.found["feature_drift"] = beside.get("feature_drift", reason)
        self._draw(trainer, module)

    def findings(self) -> dict[str, Any]:
        if not self.found and not self.course:
            return missing("nothing was evaluated")
        return self.found | {"course": self.course}

    # ---- keeping

    def state_dict(self) -> dict[str, Any]:
        return {"course": self.course, "base": self.base, "fingerprint": self._fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.course, self.base = list(state_dict["course"]), dict(state_dict["base"])
        self._fingerprint = state_dict["fingerprint"]

    # ---- measuring

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        """Which rows there are; the same in every session of a run."""
        if self._looked or trial_batches(trainer):
            return
        self._looked, tuner = True, finetuner(module)
        self._fresh = tuner.has_fresh_head
        if tuner.adapter.base_is == "lost":
            self.no_base = LOST.format(adapter=type(tuner.adapter).__name__)
        self.general = general_text(self.given, self.text, self.context, self.cache_dir, trainer, tuner)
        if isinstance(self.general, GeneralText) and self._fingerprint not in (None, self.general.fingerprint):
            raise UserError(
                f"finelab.callbacks.Forgetting: general ({self.general.name}) has other rows than when this run began, "
                "so that its losses cannot be compared with the base's. Put the former file back, or begin a new run."
            )
        if isinstance(self.general, GeneralText) and self.no_base is None:
            self._texts = sampled_rows(module, self.general.loader, self.final_rows, trainer)
        loader = split_loader(trainer, "validation")
        if loader is None:
            self.no_prompts = "there is no validation split"
        elif self.no_base is None:
            self._prompts = sampled_rows(module, loader, self.final_rows, trainer)

    def _columns(self, trainer: Trainer, module: LightningModule, rows: int) -> Columns:
        """Per-example columns of the first rows of GENERAL in the order of the draw; the same on every rank."""
        chosen = self._texts[:rows]
        own = example_columns(module, batches_of(chosen, ROWS_OF_A_BATCH, trainer), trainer)
        parts = [columns for part in gathered(own) for columns in part]
        merged = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
        place = {int(row["sample_id"]): at for at, row in enumerate(chosen)}
        order = np.argsort([place[sample] for sample in merged["sample_id"].tolist()])
        return {name: values[order] for name, values in merged.items()}

    def _base(self, rows: int) -> Columns:
        return {name: np.asarray(values[:rows]) for name, values in self.base.items()}

    def _beside_base(self, trainer: Trainer, module: LightningModule, rows: int) -> dict[str, float]:
        if not self._prompts:
            return {}
        batches = batches_of(self._prompts[:rows], ROWS_OF_A_BATCH, trainer)
        if self._fresh:
            drift = feature_drift(module, batches, trainer)
            return {} if drift is None else {"feature_drift": drift}
        both = divergences(module, batches, trainer)
        return {} if both is None else dict(zip(("kl_base_tuned", "kl_tuned_base"), both, strict=True))

    def _learning(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        monitor, mode = watched(trainer, module)
        before, now = references(trainer).get(monitor), trainer.callback_metrics.get(monitor)
        if before is None or now is None or not math.isfinite(now):
            return {}
        return {"learning": (float(now) - before) * (1 if mode == "max" else -1)}

    def _general_after(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        if isinstance(self.general, str):
            return missing(self.general)
        if not self.base:
            return missing(self.no_base or "the untouched base was not measured (finelab.callbacks.Baseline does that)")
        before, after = self._base(self.final_rows), self._columns(trainer, module, self.final_rows)
        documents = self.general.document_of(after["sample_id"])
        change = ratio(after["nll"] - before["nll"], before["tokens"], documents)
        low, high = change.interval() if change.units > 1 else (None, None)
        interval = {"low": low, "high": high, "level": 0.95} if change.units > 1 else missing("there is one document")
        return {
            "name": self.general.name,
            "rows": len(documents),
            "documents": change.units,
            "tokens": int(before["tokens"].sum()),
            "before": likelihood(before),
            "after": likelihood(after),
            "difference": {"nll": change.value, **interval},
        }

    def _draw(self, trainer: Trainer, module: LightningModule) -> None:
        axes = {
            "forgetting": "rise of the NLL on GENERAL (nats per token)",
            "kl_base_tuned": "KL(base || tuned) on validation (nats per token)",
            "feature_drift": "1 - cosine of the features, tuned and base",
        }
        chosen = next((name for name in axes if any(name in entry for entry in self.course)), None)
        points = [entry for entry in self.course if chosen in entry and "learning" in entry]
        if chosen is None or not points:
            return
        gained = f"gain in {watched(trainer, module)[0]} over the reference"
        columns = ([entry[name] for entry in points] for name in ("step", "learning", chosen))
        steps, learning, forgetting = ([0.0, *values] for values in columns)
        origin = (
            "the reference on the frozen base, no new head"
            if finetuner(module).has_fresh_head
            else "the untouched base"
        )
        names = (gained, axes[chosen])
        picture = learning_vs_forgetting([int(step) for step in steps], learning, forgetting, names, origin)
        for logger in tensorboard_loggers(trainer):
            tag = "forgetting/learning_vs_forgetting"
            logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")


def mean_nll(columns: Columns) -> float:
    return float(columns["nll"].sum() / columns["tokens"].sum())


def likelihood(columns: Columns) -> dict[str, float]:
    """nll, and bits per byte where the rows know their bytes."""
    found = {"nll": mean_nll(columns)}
    for name, unit in (("bits_per_byte", "bytes"), ("bits_per_char", "chars")):
        if unit in columns and columns[unit].sum():
            found[name] = float(columns["nll"].sum() / math.log(2) / columns[unit].sum())
    return found
