"""Made-up rows of every target, as a template would give them, and a tiny model for each."""

import functools

import numpy as np
import torch
from peft import LoraConfig
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.data.collate import PadCollator
from finelab.models import Seq2SeqLM

PAD = 0
COLLATORS = {}


def lora(**options):
    return LoraConfig(**{"r": 4, "target_modules": "all-linear"} | options)


def _seq2seq(ids, random):
    return {"labels": random.integers(0, 256, 3 + len(ids) % 4)}


MAKERS = {"seq2seq": _seq2seq}

MODELS = {
    "seq2seq": functools.partial(Seq2SeqLM, "tiny://t5"),
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
    if kind in ("seq2seq", "tokens"):
        fillers["labels"] = IGNORE
    pad = torch.nn.functional.pad
    return {name: pad(x, (0, more), value=fillers[name]) if name in fillers else x for name, x in batch.items()}
