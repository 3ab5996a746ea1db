"""Plain documents for language modelling, cut into windows with no token lost."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from ..contracts.batch import IGNORE
from ..contracts.errors import UserError
from .template import Example, Template, text_column


class Documents(Template):
    """Every token of every document is a target exactly once.

    A document's tokens are preceded by one BOS (the tokenizer's own; else its EOS, as GPT-2 was trained; else none, and
    then its first token cannot be scored, which the report says) and cut into windows of the context's length. Windows
    after the first begin with the last ``overlap`` tokens of the one before, as context that is not supervised: the
    stride is ``context - overlap``.

    Characters are attributed by the tokenizer's offsets: a token stands for what lies between the end of the token
    before it and its own end, the last one for the rest. So the characters of a document's windows sum up to its length
    whatever a normaliser removes, and several byte tokens of one character count it once.

    Args:
        text: column of the document.
        overlap: tokens repeated as context; more lowers the loss at the windows' beginnings and costs compute.
        append_eos: make EOS the last target, to teach where documents end. It stands for no character, so that with it
            bits per character pay for an end that the text's length does not contain; hence off by default.
    """

    target_kind = "tokens"
    cuts = False
    packable = True

    def __init__(self, text: str = "text", overlap: int = 1, append_eos: bool = False) -> None:
        if overlap < 1:
            raise UserError(f"data.template: overlap is {overlap}; at least 1, or the first token of a window is lost.")
        self.text = text
        self.overlap = overlap
        self.append_eos = append_eos

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        return {"text": text_column(fields, self.text)}

    def texts(self, example: Example) -> tuple[str, ...]:
        return (example["text"],)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        """Raises:
        UserError: the context has no room for new tokens, or the tokenizer gives no offsets or has no EOS to append.
        """
        if self.overlap >= context:
            raise UserError(f"data.template: overlap {self.overlap} leaves no new token in a context of {context}.")
        if not tokenizer.is_fast:
            raise UserError(
                f"{tokenizer.name_or_path} has no fast tokenizer; characters are attributed by its offsets."
            )
        eos = tokenizer.eos_token_id
        if self.append_eos and eos is None:
            raise UserError(f"data.template: append_eos, but {tokenizer.name_or_path} has no EOS token.")
        texts = [example["text"] for example in examples]
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        bos = document_start(tokenizer)
        samples: list[Example] = []
        for row, text in enumerate(texts):
            ids = encoded["input_ids"][row]
            chars, sizes = attribute(text, [end for _, end in encoded["offset_mapping"][row]])
            start = [] if bos is None else [bos]
            end = [eos] if self.append_eos else []
            document = (
                start + ids + end,
                [0] * len(start) + chars + [0] * len(end),
                [0] * len(start) + sizes + [0] * len(end),
            )
            samples += [{"row": row, **window} for window in self._windows(*document, context)]
        return samples

    def _windows(self, ids: list[int], chars: list[int], sizes: list[int], context: int) -> list[Example]:
        windows: list[Example] = []
        begin, new = 0, 1  # the token at `new` is the first one not supervised yet; nothing precedes the very first
        while new < len(ids):
            end = min(begin + context, len(ids))
            labels = [IGNORE] * (new - begin) + ids[new:end]
            counts = {"chars": sum(chars[new:end]), "bytes": sum(sizes[new:end]), "supervised": end - new}
            windows.append({"input_ids": ids[begin:end], "labels": labels, "full_tokens": len(ids), **counts})
            begin, new = max(end - self.overlap, 0), end
        return windows

    def notes(self, tokenizer: PreTrainedTokenizerBase, context: int) -> list[str]:
        """The stride and the rule for the first token, on which bits per character depend."""
        start, stride = document_start(tokenizer), context - self.overlap
        first = (
            f"each document starts behind {tokenizer.convert_ids_to_tokens(start)}"
            if start is not None
            else ("the tokenizer has no BOS or EOS, so the first token of each document is not scored")
        )
        end = f"{tokenizer.eos_token} is its last target" if self.append_eos else "no end token is appended"
        return [f"windows of {context} tokens, stride {stride} ({self.overlap} repeated as context); {first}; {end}"]

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        first = next(i for i, label in enumerate(sample["labels"]) if label != IGNORE)
        ids = sample["input_ids"]
        return f"{tokenizer.decode(ids[:first])}«{tokenizer.decode(ids[first:])}»"


def document_start(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token before a document's first: BOS, else EOS, else none."""
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    assert not isinstance(start, list | str)
    return start


def attribute(text: str, ends: Sequence[int]) -> tuple[list[int], list[int]]:
    """How many characters and UTF-8 bytes of a text each of its tokens stands for.

    Args:
        text: the document.
        ends: per token, the offset behind its last character.

    Returns:
        Two lists as long as ``ends`` that sum up to ``len(text)`` and ``len(text.encode())`` (empty without tokens).
    """
    chars: list[int] = []
    sizes: list[int] = []
    done = 0
    for position, end in enumerate(ends, start=1):
        upto = len(text) if position == len(ends) else max(done, end)
        chars.append(upto - done)
        sizes.append(len(text[done:upto].encode()))
        done = upto
    return chars, sizes
