"""Conversations for language models: prompts that are read and answers that are learned."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from ..contracts.batch import IGNORE
from ..contracts.errors import UserError
from .chat_encoder import Encoder, shortened
from .chat_format import ChatFormat, NoSample, Supervise, TooLong, Turn, template_text
from .template import Example, Template


class Conversation(Template):
    """Turns of a system, a user and an assistant, written by a chat template; a subclass says which columns they are.

    The chat template is the tokenizer's own, else the built-in one. A sample begins with one BOS (which the template
    writes, or the tokenizer puts before texts) and ends with the end of the last answer: EOS, or the token by which
    the template ends turns. Tokens before an answer are the very ones that the model is asked to continue when it
    generates: where the tokenizer would merge over that border, the answer is tokenized by itself.

    A row with several answers to its last turn gives a sample for each; those that do not fit are left out and counted,
    and the row is refused where none fits.

    Args:
        supervise: which tokens are targets: of all the assistant's turns, of the last one, or of everything.
        too_long: of rows beyond the context: stop the run, drop and count them, or take text from the end of the
            longest turn of the prompt and count them. An answer is never cut. What else makes a row unusable (a
            control token in a text, turns that the template refuses) is a matter of ``data.on_bad_row``.
        chat_template: Jinja text in the place of the tokenizer's own, or a file of it whose name ends in ``.jinja``.
    """

    target_kind = "tokens"
    packable = True
    asks_for_text = True

    def __init__(
        self,
        supervise: Supervise = "assistant",
        too_long: Literal["error", "drop", "shorten"] = "error",
        chat_template: str | None = None,
    ) -> None:
        self.supervise: Supervise = supervise
        self.too_long: Literal["error", "drop", "shorten"] = too_long
        self.chat_template = None if chat_template is None else template_text(chat_template)

    @abstractmethod
    def conversation(self, fields: Mapping[str, object], labelled: bool) -> tuple[list[Turn], list[str]]:
        """The turns up to where the last answer belongs, and that answer (several: all of them right).

        Raises:
            BadRow: the row cannot be used.
        """

    def values(self, fields: Mapping[str, object], turns: Sequence[Turn]) -> list[str]:
        """What of the turns comes from the row; a frame that every row has makes no two rows alike."""
        return [turn["content"] for turn in turns]

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        turns, answers = self.conversation(fields, labelled)
        return {"turns": turns, "answers": answers if labelled else [], "values": self.values(fields, turns)}

    def texts(self, example: Example) -> tuple[str, ...]:
        return tuple(example["values"])

    def answers(self, example: Example) -> tuple[str, ...]:
        return tuple(example["answers"])

    def supervised_texts(self, example: Example) -> tuple[str, ...]:
        turns = example["turns"] if self.supervise != "last" else []
        own = [turn["content"] for turn in turns if self.supervise == "everything" or turn["role"] == "assistant"]
        return tuple(text for answer in example["answers"] for text in (*own, answer))

    def format(self, tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
        """Raises:
        UserError: the tokenizer has no token to end an answer with.
        """
        if tokenizer.eos_token_id is None:
            raise UserError(f"{tokenizer.name_or_path} has no EOS token, so that an answer cannot be told to end.")
        return ChatFormat(tokenizer, self.chat_template)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        encoder = Encoder(self.format(tokenizer), self.supervise)
        samples: list[Example] = []
        for row, example in enumerate(examples):
            try:
                own = self._samples(encoder, example, context)
            except NoSample as reason:
                own = [{"refused": str(reason)}]
            samples += [{"row": row, **entry} for entry in own]
        return samples

    def _samples(self, encoder: Encoder, example: Example, context: int) -> list[Example]:
        """One for each answer that fits, or the reason where none does."""
        fitting: list[Example] = []
        reasons: list[str] = []
        for turns in conversations_of(example):
            try:
                fitting.append(self._sample(encoder, turns, context))
            except TooLong as reason:
                reasons.append(str(reason))
        if reasons and (not fitting or self.too_long == "error"):
            return [{"refused": reasons[0], "policy": "error" if self.too_long == "error" else "skip"}]
        return [sample | {"answers_left_out": len(reasons)} for sample in fitting]

    def _sample(self, encoder: Encoder, turns: list[Turn], context: int) -> Example:
        tokens = whole = encoder.encode(turns)
        # A prompt to continue needs room for one token at least.
        limit = context if tokens.targets else context - 1
        if len(whole.ids) > limit:
            if self.too_long != "shorten":
                raise TooLong(
                    f"too long for the context ({len(whole.ids)} tokens, context {context}; "
                    "data.template.init_args.too_long may drop or shorten such rows)"
                )
            tokens = shortened(encoder, turns, whole, limit)
        sample = {
            "input_ids": tokens.ids,
            "full_tokens": len(whole.ids),
            "supervised": tokens.targets,
            "shortened": len(whole.ids) - len(tokens.ids),
            "prompt_tokens": tokens.prompt,
        }
        if tokens.targets:
            sample |= {"labels": tokens.labels, "chars": tokens.chars, "bytes": tokens.bytes}
        return sample

    def notes(self, tokenizer: PreTrainedTokenizerBase, context: int) -> list[str]:
        """Which chat template, with its hash, and what is supervised."""
        own = self.format(tokenizer)
        if own.origin == "built-in":
            rank_zero_warn(
                f"{tokenizer.name_or_path} has no chat template; finelab's built-in one is used (hash {own.digest}). "
                "Whoever serves the model has to use the same one: it is kept in the checkpoint's finelab.json."
            )
        what = {"assistant": "all assistant turns", "last": "the last assistant turn", "everything": "everything"}
        start = tokenizer.convert_ids_to_tokens(own.start[0]) if own.start else "what the template writes"
        return [
            f"chat template: {own.origin}, hash {own.digest}; starts with {start}; supervised: {what[self.supervise]} "
            f"with the end token; too long: {self.too_long}{own.dated}"
        ]

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        ids, labels = sample["input_ids"], sample["labels"]
        shown, start = "", 0
        for i in range(1, len(ids) + 1):
            if i == len(ids) or (labels[i] == IGNORE) != (labels[start] == IGNORE):
                text = str(tokenizer.decode(ids[start:i]))
                shown += text if labels[start] == IGNORE else f"«{text}»"
                start = i
        return shown


def conversations_of(example: Example) -> Iterable[list[Turn]]:
    """The turns with each of the answers behind them; as they are where there is none."""
    if not example["answers"]:
        return [example["turns"]]
    return [[*example["turns"], {"role": "assistant", "content": answer}] for answer in example["answers"]]
