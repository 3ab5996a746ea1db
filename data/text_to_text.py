"""One text in, another text out: translation, summaries, data to text."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from ..contracts.errors import UserError
from .template import Example, Template, references, text_column


class TextToText(Template):
    """A source for the encoder and a target for the decoder (``finelab.models.Seq2SeqLM``).

    The source is cut at the context, which the report counts. The target is what the tokenizer makes of a target text,
    ending in EOS; it is never cut: a row whose target is too long is a bad row. Rows to predict need the source alone.

    Args:
        source: column of the source text.
        target: column of the target text, or of a list of them (references), each of which is a sample.
        prefix: written before every source, e.g. ``translate English to German: `` for T5.
        target_context: most target tokens with EOS; the context of the data module where it is None.
    """

    target_kind = "text"
    asks_for_text = True

    def __init__(
        self, source: str = "source", target: str = "target", prefix: str = "", target_context: int | None = None
    ) -> None:
        if target_context is not None and target_context < 2:
            raise UserError(f"data.template: target_context is {target_context}; at least 2, one token and EOS.")
        self.source = source
        self.target = target
        self.prefix = prefix
        self.target_context = target_context

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        example: Example = {"source": text_column(fields, self.source)}
        return example | {"targets": references(fields, self.target)} if labelled else example

    def texts(self, example: Example) -> tuple[str, ...]:
        return (example["source"],)

    def answers(self, example: Example) -> tuple[str, ...]:
        return tuple(example["targets"])

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        """Raises:
        UserError: the tokenizer has no EOS.
        """
        if tokenizer.eos_token_id is None:
            raise UserError(f"{tokenizer.name_or_path} has no end token to end a target with; choose another base.")
        sources = [self.prefix + example["source"] for example in examples]
        encoded = tokenizer(sources, verbose=False)["input_ids"]
        samples: list[Example] = []
        for row, (text, example) in enumerate(zip(sources, examples, strict=True)):
            own = {"row": row, "input_ids": encoded[row], "full_tokens": len(encoded[row])}
            if len(encoded[row]) > context:
                own["input_ids"] = tokenizer(text, truncation=True, max_length=context)["input_ids"]
            if "targets" not in example:
                samples.append({**own, "supervised": 0})
            else:
                samples += self._labelled(own, example["targets"], tokenizer, self.target_context or context)
        return samples

    def _labelled(
        self, source: Example, targets: list[str], tokenizer: PreTrainedTokenizerBase, most: int
    ) -> list[Example]:
        """A sample for each target; none but the reason where one of them is too long."""
        samples: list[Example] = []
        for ids in tokenizer(text_target=targets, verbose=False)["input_ids"]:
            labels = ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]
            if len(labels) > most:
                why = f"the target is too long ({len(labels)} tokens with its end, {most} fit; see target_context)"
                return [{"row": source["row"], "refused": why}]
            samples.append({**source, "labels": labels, "supervised": len(labels)})
        return samples

    def notes(self, tokenizer: PreTrainedTokenizerBase, context: int) -> list[str]:
        most = self.target_context or context
        return [f"up to {context} source tokens, and up to {most} target tokens of which the last is EOS"]

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        return f"{tokenizer.decode(sample['input_ids'])} => «{tokenizer.decode(sample['labels'])}»"
