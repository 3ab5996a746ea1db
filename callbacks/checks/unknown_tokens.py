"""How much of the text the tokenizer has no token for."""

from collections.abc import Iterable

from ...contracts.data import RehearsalSource
from ...contracts.finding import Finding, ok
from .check import Check, Subject

SOME, MOST = 0.01, 0.5


class UnknownTokens(Check):
    section = "tokens"

    def look(self, subject: Subject) -> Iterable[Finding]:
        if not isinstance(subject.data, RehearsalSource) or "train" not in subject.batches:
            return
        tokenizer, name = subject.data.tokenizer.tokenizer, "unknown tokens"
        if tokenizer.unk_token_id is None:
            yield ok(name, "none: the tokenizer can write any text")
            return
        batch = subject.batches["train"].sample
        real = batch["input_ids"][batch["attention_mask"].bool()]
        share = (real == tokenizer.unk_token_id).float().mean().item()
        seen = f"{share:.2%} of {len(real):,} tokens are {tokenizer.unk_token}"
        cure = "Choose a model.init_args.base whose tokenizer knows this script, or clean the texts."
        yield Finding(name, "error" if share > MOST else "warning", seen, cure) if share > SOME else ok(name, seen)
