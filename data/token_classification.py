"""One tag for each word of a text that comes in words."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from transformers import BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..contracts.batch import IGNORE
from ..contracts.errors import UserError
from .classification import UNLABELLED
from .rejections import BadRow
from .template import Example, Template, checked_text, column


class TokenClassification(Template):
    """Words and their tags, BIO (``O``, ``B-X``, ``I-X``) or plain.

    Words are read as they stand in running text, with a space before each where the tokenizer needs one. The label
    stands on the first piece of each word; further pieces are not supervised. A word of which the tokenizer
    leaves nothing is read as its unknown token, so that no tag moves to another word. Words beyond the context are
    not tagged: the report counts them, and metrics are over the words that are left.

    Args:
        tokens: column with the list of words.
        tags: column with the list of tags, as long: names, or indices into ``names``. Without ``names`` a column
            of the same name with ``_text`` behind it goes first, as data sets of the hub have it.
        names: the tags; by default those of the training split in alphabetical order behind ``O``, and of BIO tags both
            ``B-X`` and ``I-X`` of every X. A tag that only another split has is a bad row.
    """

    target_kind = "words"

    def __init__(self, tokens: str = "tokens", tags: str = "tags", names: list[str] | None = None) -> None:
        if names is not None and (repeated := [name for name, count in Counter(names).items() if count > 1]):
            raise UserError(f"data.template: names lists {repeated[0]!r} more than once.")
        self.tokens = tokens
        self.tags = tags
        self.names = names

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        words = [checked_text(word, self.tokens) for word in listed(fields, self.tokens)]
        if not words:
            raise BadRow(f"the column {self.tokens!r} holds an empty list")
        if not labelled:
            return {"words": words}
        in_names = f"{self.tags}_text"
        source = in_names if self.names is None and in_names in fields else self.tags
        tags = [self._name(tag) for tag in listed(fields, source)]
        if len(tags) != len(words):
            raise BadRow(
                f"columns {self.tokens!r} and {self.tags!r} are not of the same length "
                f"({len(words)} words, {len(tags)} tags)"
            )
        return {"words": words, "tags": tags}

    def _name(self, tag: object) -> str:
        if isinstance(tag, int) and not isinstance(tag, bool):
            if self.names is None:
                return str(tag)
            if not 0 <= tag < len(self.names):
                raise BadRow(f"unknown tag {tag} (names lists {len(self.names)} tags, counted from 0)")
            return self.names[tag]
        name = checked_text(tag, self.tags).strip()
        if self.names is not None and name not in self.names:
            raise BadRow(f"unknown tag {name!r} (names lists {', '.join(self.names)})")
        return name

    def label_names(self, train: Sequence[Example]) -> list[str]:
        """Raises:
        UserError: tags of another scheme, which would be scored word by word in silence.
        """
        found = {tag for row in train for tag in row["tags"]} if self.names is None else set(self.names)
        entities = found - {"O"}
        other = sorted(tag for tag in entities if tag.startswith(("S-", "E-", "L-", "U-")))
        if other and any(tag.startswith("B-") for tag in entities):
            raise UserError(
                f"data.template: the tag {other[0]!r} is of a BIOES or BILOU scheme; entities are scored in BIO only. "
                "Rewrite the tags: S- and U- become B-, E- and L- become I-."
            )
        if self.names is not None:
            return list(self.names)
        if entities and all(tag.startswith(("B-", "I-")) for tag in entities):
            entities = {f"{place}-{tag[2:]}" for tag in entities for place in "BI"}
        return (["O"] if "O" in found else []) + sorted(entities)

    def refusals(self, examples: Sequence[Example], label_names: list[str] | None) -> list[str | None]:
        known = set(label_names or [])
        unknown = [[tag for tag in row["tags"] if tag not in known] for row in examples]
        seen = ", ".join(label_names or [])
        return [f"unknown tag {tags[0]!r} (training tags: {seen})" if tags else None for tags in unknown]

    def answers(self, example: Example) -> tuple[str, ...]:
        return (" ".join(example["tags"]),)

    def texts(self, example: Example) -> tuple[str, ...]:
        return (" ".join(example["words"]),)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        """Raises:
        UserError: the tokenizer does not say which word a piece is of.
        """
        if not tokenizer.is_fast:
            raise UserError(f"{tokenizer.name_or_path} has no fast tokenizer; words are told apart by its word ids.")
        index = {name: position for position, name in enumerate(label_names or [])}
        samples: list[Example] = []
        space = " " if needs_space(tokenizer) else ""
        for row, example in enumerate(examples):
            words = [space + word for word in example["words"]]
            whole = in_words(tokenizer, words, None)
            size = len(whole["input_ids"])
            own = whole if size <= context else in_words(tokenizer, words, context)
            firsts = first_pieces(own)
            tags = [index[tag] for tag in example["tags"]] if "tags" in example else [UNLABELLED] * len(words)
            labels = [IGNORE if word is None else tags[word] for word in firsts]
            found = sum(word is not None for word in firsts)
            counts = {"full_tokens": size, "supervised": found, "cut_words": len(words) - found}
            samples.append({"row": row, "input_ids": own["input_ids"], "labels": labels, **counts})
        return samples

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        names = label_names or []
        pieces = tokenizer.convert_ids_to_tokens(sample["input_ids"])
        tagged = zip(pieces, sample["labels"], strict=True)
        return " ".join(p if tag == IGNORE or names[tag] == "O" else f"{p} «{names[tag]}»" for p, tag in tagged)


def listed(fields: Mapping[str, object], name: str) -> list[object]:
    """A column's list.

    Raises:
        BadRow: it holds something else.
    """
    value = column(fields, name)
    if not isinstance(value, list):
        raise BadRow(f"the column {name!r} holds no list ({type(value).__name__} {str(value)[:40]!r})")
    return value


def needs_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a word is only told from the rest of one by a space before it: byte-level BPE (GPT-2, RoBERTa, Llama 3).

    Words that come as a list have none, and would be read as if they were written without a gap.
    """
    pre = cast(PreTrainedTokenizerFast, tokenizer).backend_tokenizer.pre_tokenizer
    if pre is None:
        return False
    state = json.loads(pre.__getstate__())
    steps = [state, *state.get("pretokenizers", [])]
    return any(step["type"] == "ByteLevel" and not step["add_prefix_space"] for step in steps)


def in_words(tokenizer: PreTrainedTokenizerBase, words: list[str], context: int | None) -> BatchEncoding:
    """Pieces of words, each word with at least one: what the tokenizer makes nothing of becomes its unknown token."""

    def encoded(own: list[str]) -> BatchEncoding:
        cut = {"truncation": True, "max_length": context} if context is not None else {}
        return tokenizer(own, is_split_into_words=True, verbose=False, **cut)

    whole = tokenizer(words, is_split_into_words=True, verbose=False)
    visible = set(whole.word_ids())
    if all(place in visible for place in range(len(words))):
        return whole if context is None else encoded(words)
    stand_in = str(tokenizer.unk_token or tokenizer.eos_token or "?")
    return encoded([word if place in visible else stand_in for place, word in enumerate(words)])


def first_pieces(encoding: BatchEncoding) -> list[int | None]:
    """Per piece the word that it begins; None for special tokens and for further pieces."""
    seen: set[int] = set()
    found: list[int | None] = []
    for word in encoding.word_ids():
        found.append(None if word is None or word in seen else word)
        if word is not None:
            seen.add(word)
    return found
