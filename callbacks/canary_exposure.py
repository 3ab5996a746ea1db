"""Whether a language model has memorized secrets that stand among its training rows."""

from typing import Any, NoReturn

import numpy as np
from lightning.pytorch import LightningModule, Trainer

from ..contracts.errors import UserError
from ..contracts.verdict import Evidence
from ..data.canaries import Canaries, Canary
from ..data.rejections import BadRow
from ..data.sampler import FixedBatchSampler
from ..data.text_data_module import TextDataModule
from ..data.token_dataset import TokenDataset
from ..data.tokenized_split import tokenize
from ..models.generative import Generative
from .evaluation import data_of, example_columns, trial_batches
from .exposure import BY_CHANCE, Exposure, chance, exposure
from .measure import Measure, missing

SIGNIFICANT = 0.01
"""Probability by chance below which the canaries are said to rank higher than secrets that were never inserted."""


class CanaryExposure(Measure):
    """Ranks the canaries of the training rows (``finelab.data.Canaries``) among secrets that were never inserted.

    Exposure(s) = log2 |R| - log2 rank(s), in bits, by the NLL of whole rows that differ in the secret alone (Carlini et
    al., 2019, arXiv:1802.08232). A secret that was never seen has 1.44 bits on average. With M references of each
    canary at most log2(M + 1) bits can be seen, and each value has an interval; where M is at least the number of
    possible secrets, all of them are ranked and the value is exact. Rows are scored in evaluation mode through the same
    template as training rows.

    ``canary/exposure`` is the mean over all canaries, ``canary/exposure_x16`` over those inserted 16 times. The finding
    has both for the base and for the best weights, each canary, and the probability of so much exposure by chance.

    Measured with stories260K on five tales: 1.4 bits before training, 5.0 after the 4 epochs that validation picks, the
    most that 255 references show (8.0) from epoch 12 on; LoRA of rank 4 had 6.2 there (``benchmarks/canaries.py``).

    Costs one forward of (M + 1) short rows for each canary at every evaluation, by every rank, and no memory beyond a
    batch. Says nothing where the base has seen the canaries before: their digits are random. Where the
    training rows have few other digits, how often each digit occurs in the canaries may raise their rank without any of
    them being known by heart.

    Args:
        references: secrets to compare each canary with.
        at_validations: measure at every validation, and not only before training and at the end.

    Raises:
        UserError: no reference, a model that writes no text, or training rows without canaries.
    """

    def __init__(self, references: int = 256, at_validations: bool = True) -> None:
        if references < 1:
            raise UserError(f"CanaryExposure: references is {references}; at least 1 secret to compare with.")
        self.references, self.at_validations = references, at_validations
        self.canaries: list[Canary] = []
        self.base: list[float] = []
        self.best: list[Exposure] = []
        self.newest: list[Exposure] = []
        self.compared = 0
        self._rows: tuple[TokenDataset, np.ndarray, list[int]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if not isinstance(pl_module, Generative):
            raise UserError(
                f"CanaryExposure needs a model that writes text (CausalLM, Seq2SeqLM), not {type(pl_module).__name__}."
            )
        self.canaries = with_canaries(trainer)[1].canaries

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.at_validations or trainer.state.fn != "fit" or trainer.sanity_checking or trial_batches(trainer):
            return
        self.newest = self.measure(trainer, pl_module)
        bits = [each.bits for each in self.newest]
        pl_module.log_dict(self._logged(bits), rank_zero_only=False, batch_size=1)

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        if trial_batches(trainer):
            return
        self.base = [each.bits for each in self.measure(trainer, module)]
        for logger in trainer.loggers:
            logger.log_metrics(self._logged(self.base), step=trainer.global_step)

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        if not trial_batches(trainer):
            self.best = self.newest = self.measure(trainer, module)

    def measure(self, trainer: Trainer, module: LightningModule) -> list[Exposure]:
        """Of each canary, with the weights as they are; the same on every rank."""
        data, source = with_canaries(trainer)
        if self._rows is None:
            self._rows = self._tokenized(data, source)
        samples, row_of, sizes = self._rows
        batches = FixedBatchSampler(samples.lengths, data.loader.evaluation_batch_size or 2 * data.batch_size, 0, 1)
        columns = example_columns(module, data.batches(samples, batches, "canaries"), trainer)
        ids = np.concatenate([part["sample_id"] for part in columns])
        nats = np.concatenate([part["nll"] for part in columns])
        by_row = np.bincount(row_of[ids], weights=nats, minlength=sum(sizes))
        self.compared = sizes[0] - 1
        exhaustive = source.secrets - len(source.canaries) <= self.references
        parts = np.split(by_row, np.cumsum(sizes)[:-1])
        return [exposure(own[0], own[1:], source.secrets, exhaustive) for own in parts]

    def evidence(self) -> list[Evidence]:
        if not self.newest:
            return []
        bits = [each.bits for each in self.newest]
        mean, most, p = float(np.mean(bits)), np.log2(self.compared + 1), chance(bits)
        seen = "no sign that a canary is memorized"
        if p < SIGNIFICANT:
            seen = (
                "the canaries rank above secrets that were never inserted; some of that may be their kind of text, "
                "such as which digits are frequent, and not the secrets themselves"
            )
        says = f"{seen}: {mean:.1f} bits of at most {most:.1f}, {BY_CHANCE:.1f} by chance (p = {p:.1g})"
        return [Evidence("canary exposure", mean, None, None, says)]

    def findings(self) -> dict[str, Any]:
        if not self.best:
            return missing("the run did not come to its end")
        canaries, bits = self.canaries, [each.bits for each in self.best]
        return {
            "references": self.compared,
            "most": float(np.log2(self.compared + 1)),
            "by_chance": BY_CHANCE,
            "base": means(canaries, self.base) if self.base else missing("the base was not measured"),
            "best": means(canaries, bits) | {"probability_by_chance": chance(bits)},
            "canaries": [
                {
                    "name": canary.name,
                    "repeats": canary.repeats,
                    "base": self.base[i] if self.base else None,
                    "exposure": self.best[i].bits,
                    "low": self.best[i].low,
                    "high": self.best[i].high,
                }
                for i, canary in enumerate(canaries)
            ],
        }

    def state_dict(self) -> dict[str, Any]:
        return {"base": list(self.base)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.base = list(state_dict["base"])

    def _logged(self, bits: list[float]) -> dict[str, float]:
        return {f"canary/{name}": value for name, value in means(self.canaries, bits).items()}

    def _tokenized(self, data: TextDataModule, source: Canaries) -> tuple[TokenDataset, np.ndarray, list[int]]:
        """Samples of each canary's row and of its references' behind it, the row of every sample, and rows a canary."""
        secrets = [[own.secret, *source.references(own, self.references)] for own in source.canaries]
        try:
            examples = [
                data.template.read(source.fields(own.name, secret), labelled=True)
                for own, listed in zip(source.canaries, secrets, strict=True)
                for secret in listed
            ]
        except BadRow as error:
            refuse(0, str(error), None)
        samples = tokenize(examples, data.template, data.tokenizer, data.context, None, refuse)
        return TokenDataset(samples), samples.data.column("row").to_numpy(), [len(listed) for listed in secrets]


def means(canaries: list[Canary], bits: list[float]) -> dict[str, float]:
    """``exposure`` over all canaries, ``exposure_xK`` over those inserted K times."""
    found = {"exposure": float(np.mean(bits))}
    for often in dict.fromkeys(canary.repeats for canary in canaries):
        own = [value for canary, value in zip(canaries, bits, strict=True) if canary.repeats == often]
        found[f"exposure_x{often}"] = float(np.mean(own))
    return found


def with_canaries(trainer: Trainer) -> tuple[TextDataModule, Canaries]:
    """Raises:
    UserError: the training rows have none.
    """
    data = data_of(trainer)
    if not isinstance(data, TextDataModule) or not isinstance(data.source, Canaries):
        raise UserError(
            "CanaryExposure needs canaries among the training rows: set data.init_args.source to "
            "{class_path: finelab.data.Canaries, init_args: {source: ...}}."
        )
    return data, data.source


def refuse(row: int, why: str, policy: object) -> NoReturn:
    """Raises:
    UserError: always, with the reason.
    """
    raise UserError(f"CanaryExposure: the template cannot use a canary: {why}. Change init_args.row of data.source.")
