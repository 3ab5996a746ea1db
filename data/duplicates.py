"""Texts that say the same: exact after normalisation, and nearly."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

WORD = re.compile(r"\w+")


def text_key(*texts: str) -> bytes:
    """Equal for texts that differ only in case and white space."""
    normalised = "\x1f".join(" ".join(text.casefold().split()) for text in texts)
    return hashlib.blake2b(normalised.encode(), digest_size=16).digest()


def exact_duplicates(splits: Mapping[str, Iterable[bytes]]) -> dict[str, int]:
    """How often texts repeat.

    Args:
        splits: split -> the ``text_key`` of each row.

    Returns:
        ``within SPLIT`` -> rows that repeat an earlier row of the same split, and ``A in B`` -> distinct texts of split
        ``A`` that also stand in ``B`` (held-out ones in train, and test ones in validation).
    """
    counts: dict[str, int] = {}
    distinct: dict[str, set[bytes]] = {}
    for split, keys in splits.items():
        listed = list(keys)
        distinct[split] = set(listed)
        counts[f"within {split}"] = len(listed) - len(distinct[split])
    for held_out, seen in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if held_out in distinct and seen in distinct:
            counts[f"{held_out} in {seen}"] = len(distinct[held_out] & distinct[seen])
    return counts


def shingles(text: str, width: int) -> frozenset[str]:
    """The word ``width``-grams of a text; the whole text where it is shorter."""
    words = WORD.findall(text.casefold())
    grams = (" ".join(words[start : start + width]) for start in range(max(1, len(words) - width + 1)))
    return frozenset(grams)


def near_pairs(
    left: Sequence[str], right: Sequence[str], threshold: float, width: int = 5
) -> Iterator[tuple[int, int]]:
    """Pairs of texts whose shingles overlap.

    Args:
        left: texts.
        right: texts.
        threshold: least Jaccard similarity of the two sets of shingles (Broder 1997, "On the resemblance and
            containment of documents"), exact and not estimated.
        width: words in a shingle.

    Yields:
        (position in ``left``, position in ``right``).
    """
    known = [shingles(text, width) for text in right]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for position, grams in enumerate(known):
        for gram in grams:
            holders[gram].append(position)
    for position, text in enumerate(left):
        grams = shingles(text, width)
        common = Counter(other for gram in grams for other in holders.get(gram, ()))
        for other, shared in common.items():
            if shared >= threshold * (len(grams) + len(known[other]) - shared):
                yield position, other
