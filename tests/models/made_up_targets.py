"""Made-up rows of every target, as a template would give them, and a tiny model for each."""

import functools

import numpy as np
import torch
from peft import LoraConfig
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.data.collate import PadCollator
from finelab.data.multiple_choice import ChoiceCollator
from finelab.models import (
    CausalLM,
    MultiLabelClassifier,
    MultipleChoice,
    Seq2SeqLM,
    SequenceClassifier,
    SequenceRegressor,
    TokenClassifier,
)

PAD = 0
LABELS = ["a", "b", "c"]
TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
COLLATORS = {"choice": ChoiceCollator}


def lora(**options):
    return LoraConfig(**{"r": 4, "target_modules": "all-linear"} | options)


def _seq2seq(ids, random):
    return {"labels": random.integers(0, 256, 3 + len(ids) % 4)}


def _causal(ids, random):
    """A prompt of one token and more, and an answer of one and more."""
    return {"labels": np.where(np.arange(len(ids)) < random.integers(1, len(ids) - 1), IGNORE, ids)}


def _tags(ids, random):
    return {"labels": np.where(random.random(len(ids)) < 0.3, IGNORE, random.integers(0, len(TAGS), len(ids)))}


def _choices(ids, random):
    """Two to four choices of different lengths."""
    sizes = random.integers(2, 7, 2 + len(ids) % 3)
    own = {"input_ids": random.integers(0, 256, int(sizes.sum())), "choice_tokens": sizes}
    return own | {"labels": int(random.integers(0, len(sizes)))}


MAKERS = {
    "class": lambda ids, random: {"labels": int(random.integers(0, len(LABELS)))},
    "causal": _causal,
    "seq2seq": _seq2seq,
    "tokens": _tags,
    "words": _tags,
    "regression": lambda ids, random: {"labels": float(random.normal(1.0, 2.0))},
    "multi_label": lambda ids, random: {"labels": random.integers(0, 2, len(LABELS))},
    "choice": _choices,
}

MODELS = {
    "class": functools.partial(SequenceClassifier, "tiny://bert", labels=LABELS),
    "causal": functools.partial(CausalLM, "tiny://llama"),
    "seq2seq": functools.partial(Seq2SeqLM, "tiny://t5"),
    "tokens": functools.partial(TokenClassifier, "tiny://bert", labels=TAGS),
    "words": functools.partial(TokenClassifier, "tiny://bert", labels=["noun", "verb", "other", "name", "sign"]),
    "regression": functools.partial(SequenceRegressor, "tiny://bert"),
    "multi_label": functools.partial(MultiLabelClassifier, "tiny://bert", labels=LABELS),
    "choice": functools.partial(MultipleChoice, "tiny://bert"),
}
KINDS = list(MODELS)


def model(kind, sgd, adapter=None, **options):
    return MODELS[kind](adapter or lora(), sgd, **options)


def samples(kind, rows=8):
    """Rows of 5 to 12 random bytes and their label."""
    random = np.random.default_rng(7)
    found = []
    for number in range(rows):
        ids = random.integers(0, 256, int(random.integers(5, 13)))
        found.append({"sample_id": number, "source_id": 0, "input_ids": ids} | MAKERS[kind](ids, random))
    return found


def loader(kind, micro, rows=8, more=0):
    """Batches of ``micro`` rows; ``more`` adds that many pads to each."""

    def collate(batch):
        return widened(COLLATORS.get(kind, PadCollator)(PAD)(batch), kind, more)

    own = torch.Generator().manual_seed(0)
    return DataLoader(samples(kind, rows), micro, collate_fn=collate, generator=own)


def widened(batch, kind, more):
    fillers = {"input_ids": PAD, "attention_mask": 0}
    if kind in ("causal", "seq2seq", "tokens", "words"):
        fillers["labels"] = IGNORE
    pad = torch.nn.functional.pad
    return {name: pad(x, (0, more), value=fillers[name]) if name in fillers else x for name, x in batch.items()}
