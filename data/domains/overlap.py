"""Near duplicates among a few thousand docstrings: word n-grams compared exactly, with none missed.

Kept apart from ``finelab.data.near_duplicates``, which is for any size and meant for the audit: the rows of
``StdlibDocs`` and every number published for them depend on this rule.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

WORD = re.compile(r"\w+")


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
