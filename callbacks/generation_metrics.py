"""Metrics of what the model writes, since a good loss under the right beginning says little about free text."""

import math
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
from .answer_scores import compared, missing_scores, writing
from .evaluation import gathered, trial_batches, undisturbed
from .interruption import check_interruption, shared_batches
from .measure import Measure
from .questions import AskedRow, Question, Written, in_turns, joined, questions_of
from .samples import Sample, page
from .split_metrics import SplitMetrics
from .tensor_board import tensorboard_loggers
from .text_scores import SCORES

Name = Literal["bleu", "chrf", "rouge_l", "exact_match", "normalized_exact_match"]


class GenerationMetrics(SplitMetrics, Measure):
    """Answers the first rows of each evaluated split and compares them with the references.

    Rows with the same prompt are one question with several references. BLEU and chrF are sacreBLEU's corpus scores, 0
    to 100 (Post, arXiv:1804.08771; Popovic, W15-3049); ROUGE-L is the mean F1 of the longest common subsequence with a
    question's best reference, 0 to 1, as the rouge-score package gives it without stemming (Lin, W04-1013). Their
    signatures stand in the record's notes. Exact match is the share of questions with one of the references' answers,
    normalized exact match the same as SQuAD compares (lower case, no punctuation, no articles). Every validation logs
    them as ``val/chrf`` and so on, so that ``monitor`` may name them. What the references do not define is missing.
    Answers that are all empty against real references are no such thing: they score a true 0, beside
    ``generation_empty`` 1.

    Beside them stands how the model wrote: ``generation_length`` (tokens of an answer, without the one that ends it),
    ``generation_ended`` (share of the answers that the model ended itself), ``generation_empty`` (share without text)
    and ``generation_nll`` (nats per token of its own answers under its own distribution: how sure it was). A few
    questions with the answers of base and model are shown in TensorBoard, before training and at every validation
    (``samples/validation``) and by the best weights (``samples/best``), and kept in the record.

    Args:
        metrics: of ``bleu``, ``chrf``, ``rouge_l``, ``exact_match`` and ``normalized_exact_match``.
        rows: budget: the first questions of a set in the order of the data, from each source in turn where it has
            several; 0 for all.
        max_new_tokens: budget of an answer; the model's own ``generation`` has it where this is None, and always says
            whether it is greedy.
        answer_pattern: regular expression for what counts in an exact match, e.g. ``#### (.+)``: its last match's first
            group, without commas and white space around it. None compares whole texts.
        samples: how many questions are shown as text.

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
        samples: int = 5,
    ) -> None:
        self.metrics: list[Name] = list(metrics or ["bleu", "chrf"])
        self.rows, self.max_new_tokens, self.answer_pattern = rows, max_new_tokens, answer_pattern
        self.samples = samples
        self.signatures: dict[str, str] = {}
        self.seen: list[list[Question]] = []
        self.of_base: dict[int, str] = {}
        self.shown: list[Sample] = []
        if unknown := set(self.metrics) - set(get_args(Name)):
            raise UserError(f"GenerationMetrics: metrics {sorted(unknown)} are none of {', '.join(get_args(Name))}.")
        if min(rows, samples) < 0 or (max_new_tokens is not None and max_new_tokens < 1):
            raise UserError(
                f"GenerationMetrics: rows is {rows}, samples {samples} and max_new_tokens {max_new_tokens}; rows start "
                "at 0, which is all of them, samples at 0, and max_new_tokens at 1."
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

    @property
    def state_key(self) -> str:
        """Apart from another one's in the same run."""
        return self._generate_state_key(metrics=self.metrics, pattern=self.answer_pattern, rows=self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"of_base": dict(self.of_base)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.of_base = dict(state_dict["of_base"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._show(trainer, pl_module, "validation", "model")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen = []

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        self.of_base = {question.samples[0]: question.written.text for question in self._chosen()}
        self._show(trainer, module, "validation", "base")

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        self._show(trainer, module, "best", "model")

    def findings(self) -> dict[str, Any]:
        return {"samples": [sample.as_json() for sample in self.shown]} if self.shown else {}

    def _chosen(self) -> list[Question]:
        return in_turns(joined(self.seen), self.samples) if self.samples else []

    def _show(self, trainer: Trainer, module: LightningModule, tag: str, writer: str) -> None:
        """What the last evaluation of the validation split wrote."""
        assert isinstance(module, Generative)
        self.shown = [
            Sample(
                str(module.tokenizer.decode(list(question.prompt))),
                question.references,
                self.of_base.get(question.samples[0]),
                question.written.text,
            )
            for question in self._chosen()
        ]
        for logger in tensorboard_loggers(trainer) if self.shown else ():
            logger.experiment.add_text(f"samples/{tag}", page(self.shown, writer), trainer.global_step)

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
            f"{where}/{name}": value
            for where, own in by_name.items()
            for name, value in (dict.fromkeys(self.missing(own), math.nan) | self.scores(own)[0]).items()
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
        written = {sample: own for part in gathered(mine) for sample, own in part.items()}
        for question in questions:
            question.written = written[question.samples[0]]
            question.references = [module.decoded(answer) for answer in question.answers]
        self.seen.append(questions)
        return questions

    def scores(self, observed: Sequence[list[Question]]) -> tuple[dict[str, float], dict[str, list[Any]]]:
        questions = in_turns(joined(observed), self.rows)
        if not questions:
            return {}, {}
        missing = self.missing(observed)
        defined = [name for name in self.metrics if name not in missing]
        found, signatures = compared(questions, defined, self.scorers, self.answer_pattern)
        self.signatures |= signatures
        rows = [(sample, question.written) for question in questions for sample in question.samples]
        columns = {
            "sample_id": [sample for sample, _ in rows],
            "generated": [own.text for _, own in rows],
            "generated_tokens": [own.tokens for _, own in rows],
            "generated_nll": [own.nll for _, own in rows],
            "generated_ended": [own.ended for _, own in rows],
        }
        return found | writing(questions), columns

    def missing(self, observed: Sequence[list[Question]]) -> dict[str, str]:
        return missing_scores(in_turns(joined(observed), self.rows), self.metrics, self.answer_pattern)

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

    def _answers(self, module: Generative, questions: Sequence[Question], size: int) -> dict[int, Written]:
        """First sample id -> what was written; prompts of like length share a batch."""
        generation = module.generation
        if self.max_new_tokens is not None:
            generation = replace(generation, max_new_tokens=self.max_new_tokens)
        ordered = sorted(questions, key=lambda question: -len(question.prompt))
        found: dict[int, Written] = {}
        shared = shared_batches(module.trainer, -(-len(ordered) // size))
        for index, start in enumerate(range(0, len(ordered), size)):
            check_interruption(module.trainer, index, shared)
            part = ordered[start : start + size]
            ids, mask = padded_right([question.prompt for question in part], module.pad)
            samples = [question.samples[0] for question in part]
            batch = {"input_ids": ids, "attention_mask": mask, "sample_id": torch.tensor(samples)}
            for sample, row in zip(samples, module.generate(batch, generation), strict=True):
                found[sample] = Written(module.decoded(row.ids), len(row.ids), row.ended, row.nll)
        return found

    def notes(self) -> list[str]:
        budget = f"the first {self.rows} questions" if self.rows else "all questions"
        return [f"generation metrics on {budget} of a set", *(f"{n}: {s}" for n, s in self.signatures.items())]


def limited_batches(loader: Iterable[Batch], limit: int | float) -> Iterable[Batch]:
    return loader if limit == float("inf") else list(islice(loader, int(limit)))
