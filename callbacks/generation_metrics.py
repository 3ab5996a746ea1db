"""Metrics of what the model writes, since a good loss under the right beginning says little about free text."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule, Trainer

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from ..models.generation import padded_right
from ..models.generative import Generative
from ..models.set_meters import sets_apart
from .evaluation import gathered, trial_batches, undisturbed
from .interruption import check_interruption, shared_batches
from .questions import AskedRow, Question, in_turns, joined, questions_of
from .split_metrics import SplitMetrics
from .text_scores import SCORES, exact_matches

Name = Literal["bleu", "chrf", "exact_match"]


class GenerationMetrics(SplitMetrics):
    """Answers the first rows of each evaluated split and compares them with the references.

    Rows with the same prompt are one question with several references. BLEU and chrF are sacreBLEU's corpus scores, 0
    to 100 (Post, arXiv:1804.08771; Popovic, W15-3049), their signature in the record's notes; exact match is the share
    of questions with one of the references' answers. Every validation logs them as ``val/chrf`` and so on, so that
    ``monitor`` may name them.

    Args:
        metrics: of ``bleu``, ``chrf`` and ``exact_match``.
        rows: budget: the first questions of a set in the order of the data, from each source in turn where it has
            several; 0 for all.
        max_new_tokens: budget of an answer; the model's own ``generation`` has it where this is None, and always says
            whether it is greedy.
        answer_pattern: regular expression for what counts in an exact match, e.g. ``#### (.+)``: its last match's first
            group, without commas and white space around it. None compares whole texts.

    Raises:
        UserError: sacrebleu is missing, a metric is not known, a budget is negative, or the pattern is no regular
            expression.
    """

    def __init__(
        self,
        metrics: list[Name] | None = None,
        rows: int = 200,
        max_new_tokens: int | None = None,
        answer_pattern: str | None = None,
    ) -> None:
        self.metrics: list[Name] = list(metrics or ["bleu", "chrf"])
        self.rows, self.max_new_tokens, self.answer_pattern = rows, max_new_tokens, answer_pattern
        self.signatures: dict[str, str] = {}
        if unknown := set(self.metrics) - set(get_args(Name)):
            raise UserError(f"GenerationMetrics: metrics {sorted(unknown)} are none of {', '.join(get_args(Name))}.")
        if rows < 0 or (max_new_tokens is not None and max_new_tokens < 1):
            raise UserError(
                f"GenerationMetrics: rows is {rows} and max_new_tokens {max_new_tokens}; rows start at 0, which is all "
                "of them, and max_new_tokens at 1."
            )
        if answer_pattern is not None:
            try:
                re.compile(answer_pattern)
            except re.error as error:
                raise UserError(f"GenerationMetrics: answer_pattern {answer_pattern!r} is wrong: {error}.") from error
        self.scorers = {name: SCORES[name]() for name in self.metrics if name in SCORES}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, Generative):
            raise UserError(
                f"GenerationMetrics needs a model that generates (CausalLM, Seq2SeqLM), not {type(pl_module).__name__}."
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val", trainer.val_dataloaders, trainer.num_val_batches)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module, "test", trainer.test_dataloaders, trainer.num_test_batches)

    def _log(self, trainer: Trainer, module: LightningModule, stage: str, loaders: Any, limits: Sequence[Any]) -> None:
        """On as many batches as the trainer's own; by set where the data has several."""
        listed = loaders if isinstance(loaders, list) else [loaders]
        limited = [limited_batches(loader, limit) for loader, limit in zip(listed, limits, strict=True)]
        observed = [self.observe(module, loader, trainer) for loader in limited]
        sets = sets_apart(trainer, "validation" if stage == "val" else "test")
        by_name = {f"{stage}/{each.name}": [own] for each, own in zip(sets, observed, strict=bool(sets))}
        by_name[stage] = [own for each, own in zip(sets, observed, strict=True) if each.pooled] if sets else observed
        found = {
            f"{where}/{name}": value for where, own in by_name.items() for name, value in self.scores(own)[0].items()
        }
        module.log_dict(found, rank_zero_only=False, batch_size=1)

    def observe(self, module: LightningModule, loader: Iterable[Batch], trainer: Trainer) -> list[Question]:
        """The questions of a set, answered.

        Raises:
            UserError: a row has no prompt; on every rank.
        """
        assert isinstance(module, Generative)
        questions, size = self._questions(module, loader, trainer)
        own = questions[trainer.global_rank :: trainer.world_size]
        with undisturbed(module), trainer.precision_plugin.forward_context():
            mine = self._answers(module, own, size)
        texts = {sample: text for part in gathered(mine) for sample, text in part.items()}
        for question in questions:
            question.text = texts[question.samples[0]]
            question.references = [module.decoded(answer) for answer in question.answers]
        return questions

    def scores(self, observed: Sequence[list[Question]]) -> tuple[dict[str, float], dict[str, list[Any]]]:
        questions = in_turns(joined(observed), self.rows)
        if not questions:
            return {}, {}
        texts = [question.text for question in questions]
        references = [question.references for question in questions]
        found: dict[str, float] = {}
        for name in self.metrics:
            if name == "exact_match":
                matches = exact_matches(texts, references, self.answer_pattern)
                found[name] = sum(matches) / len(matches)
            else:
                found[name], self.signatures[name] = self.scorers[name](texts, references)
        pairs = [(sample, question.text) for question in questions for sample in question.samples]
        return found, {"sample_id": [sample for sample, _ in pairs], "generated": [text for _, text in pairs]}

    def _questions(self, module: Generative, loader: Iterable[Batch], trainer: Trainer) -> tuple[list[Question], int]:
        """The first questions of the set, the same on every rank, and how many rows a batch has."""
        rows: list[AskedRow] = []
        size = 1
        limit = trial_batches(trainer)
        for index, batch in enumerate(loader):
            if limit and index >= limit:
                break
            prompts, answers = module.asked(batch)
            size = max(size, len(prompts))
            samples, sources = batch["sample_id"].tolist(), batch["source_id"].tolist()
            rows += map(AskedRow, samples, sources, map(tuple, prompts), map(tuple, answers))
        # Every rank has to get here before any of them may raise, or the others would wait for it.
        everywhere = [row for part in gathered(rows) for row in part]
        size = max(gathered(size))
        least = 0 if module.writer.config.is_encoder_decoder else 2  # a lone BOS asks nothing
        for row in sorted(everywhere):
            if len(row.prompt) < least:
                raise UserError(
                    f"GenerationMetrics: sample {row.sample} has no prompt to answer, since all of it is supervised; "
                    "use a template with prompts and supervise: assistant or last."
                )
        return in_turns(questions_of(everywhere), self.rows), size

    def _answers(self, module: Generative, questions: Sequence[Question], size: int) -> dict[int, str]:
        """First sample id -> text; prompts of like length share a batch."""
        generation = module.generation
        if self.max_new_tokens is not None:
            generation = replace(generation, max_new_tokens=self.max_new_tokens)
        ordered = sorted(questions, key=lambda question: -len(question.prompt))
        texts: dict[int, str] = {}
        shared = shared_batches(module.trainer, -(-len(ordered) // size))
        for index, start in enumerate(range(0, len(ordered), size)):
            check_interruption(module.trainer, index, shared)
            part = ordered[start : start + size]
            ids, mask = padded_right([question.prompt for question in part], module.pad)
            samples = [question.samples[0] for question in part]
            batch = {"input_ids": ids, "attention_mask": mask, "sample_id": torch.tensor(samples)}
            for sample, row in zip(samples, module.generate(batch, generation), strict=True):
                texts[sample] = module.decoded(row.ids)
        return texts

    def notes(self) -> list[str]:
        budget = f"the first {self.rows} questions" if self.rows else "all questions"
        return [f"generation metrics on {budget} of a set", *(f"{n}: {s}" for n, s in self.signatures.items())]


def limited_batches(loader: Iterable[Batch], limit: int | float) -> Iterable[Batch]:
    return loader if limit == float("inf") else list(islice(loader, int(limit)))
