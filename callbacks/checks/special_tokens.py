"""Where texts begin and end: one start token, an end that is learnt, and pads that teach nothing."""

from collections.abc import Iterable
from typing import Any

import torch

from ...contracts.batch import IGNORE, Batch
from ...contracts.data import RehearsalSource
from ...contracts.finding import Finding, ok
from .check import Check, Subject

CURE = "Let data.init_args.template put the end token of the tokenizer behind every answer and give it a label."
FEWEST = 0.5
"""Share of the answers that have an end; below it something is wrong, and not with single rows."""


class SpecialTokens(Check):
    section = "tokens"

    def look(self, subject: Subject) -> Iterable[Finding]:
        data = subject.data
        if not isinstance(data, RehearsalSource) or "train" not in subject.batches:
            return
        tokenizer, batch = data.tokenizer.tokenizer, subject.batches["train"].sample
        kind = subject.module.target_kind
        yield start(tokenizer, batch)
        if kind in ("tokens", "text"):
            yield end(tokenizer, batch, data.predicts_text)
            yield pads(tokenizer, batch, kind == "text")


def start(tokenizer: Any, batch: Batch) -> Finding:
    name, bos = "start token", tokenizer.bos_token_id
    if bos is None:
        bos = tokenizer.cls_token_id
    if bos is None:
        return ok(name, "the tokenizer has none")
    ids = batch["input_ids"].flatten(0, -2)
    token = tokenizer.convert_ids_to_tokens(bos)
    doubled = ((ids[:, 0] == bos) & (ids[:, 1] == bos)).float().mean().item() if ids.shape[1] > 1 else 0.0
    if doubled:
        return Finding(
            name,
            "error",
            f"{doubled:.1%} of the rows begin with {token} twice",
            "The chat template writes one and the tokenizer adds another: take it out of "
            "data.init_args.template.init_args.chat_template.",
        )
    return ok(name, f"{token} once at the start of {(ids[:, 0] == bos).float().mean().item():.1%} of the rows")


def end(tokenizer: Any, batch: Batch, answers: bool) -> Finding:
    """By the last target of each row; a turn's own end token, such as <|im_end|>, ends an answer as well.

    Args:
        tokenizer: which names the tokens.
        batch: of a language model.
        answers: a target is an answer, which has an end, and no window of a document.
    """
    name, eos = "end token", tokenizer.eos_token_id
    labels = batch["labels"]
    marked = labels != IGNORE
    rows = marked.any(-1)
    last = labels.shape[-1] - 1 - marked.flip(-1).int().argmax(-1)
    targets = labels.gather(-1, last.unsqueeze(-1)).squeeze(-1)[rows]
    special = torch.tensor(sorted(set(tokenizer.added_tokens_decoder) | {eos} - {None}))
    share = torch.isin(targets, special).float().mean().item() if len(targets) else 0.0
    if share:
        tokens = tokenizer.convert_ids_to_tokens(targets[torch.isin(targets, special)].unique().tolist())
        seen = f"{', '.join(tokens)} is the last target of {share:.1%} of the rows"
        if not answers or share >= FEWEST:
            return ok(name, seen)
        return Finding(name, "warning", f"{seen}, so that the model mostly learns not to stop", CURE)
    if not answers:
        return ok(name, "no target: documents have no end here (data.init_args.template.init_args.append_eos)")
    return Finding(
        name,
        "error",
        f"no row's target ends in {tokenizer.eos_token or 'an end token'}, so that the model never learns to stop",
        CURE,
    )


def pads(tokenizer: Any, batch: Batch, apart: bool) -> Finding:
    """
    Args:
        tokenizer: which names the pad.
        batch: padded.
        apart: the targets are no part of what is read.
    """
    name, pad, eos = "pad token", tokenizer.pad_token_id, tokenizer.eos_token_id
    token = tokenizer.convert_ids_to_tokens(pad)
    labels = batch["labels"]
    if apart:
        marked = labels != IGNORE
        after = marked & (labels == pad) & (pad != eos)
    else:
        after = (batch["attention_mask"] == 0) & (labels != IGNORE)
    if int(after.sum()):
        return Finding(
            name,
            "error",
            f"{int(after.sum()):,} pads ({token}) are targets, so that the model learns to write pads",
            "The collator must give pads the label -100 and the attention mask 0.",
        )
    return ok(name, f"{token}{', which is the end token too' if pad == eos else ''}, masked and no target")
