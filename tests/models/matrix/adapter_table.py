"""One row per adapter: how it is made for the tiny models, where it is refused and why, and what it cannot keep."""

from collections.abc import Callable
from dataclasses import dataclass, field

import peft
import pytest

from finelab.models.adapters import BitFit, Bottleneck, Full, LinearProbe, NormTuning, TopLayers
from finelab.models.adapters.adapter import Adapter

from ..made_up_targets import KINDS

ENCODERS = [kind for kind in KINDS if kind not in ("causal", "seq2seq")]
LANGUAGE = ("causal", "seq2seq")


@dataclass(frozen=True, eq=False)  # a key of caches
class Row:
    """What the matrix knows about one adapter.

    Args:
        name: of the class or configuration, with the variant where there are several.
        make: a fresh one.
        home: the task whose checks belong to ``make test``; the others are slow.
        refused: task -> a part of the paragraph that refuses it.
        idle: parameter names (regular expression) -> why they have no gradient within two steps.
        exceptions: check -> why this adapter does not keep it.
    """

    name: str
    make: Callable[[], Adapter | peft.PeftConfig]
    home: str = "class"
    refused: dict[str, str] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)
    exceptions: dict[str, str] = field(default_factory=dict)


def tuner(config: type[peft.PeftConfig], **options) -> Callable[[], peft.PeftConfig]:
    return lambda: config(**options)


def lora(**options) -> Callable[[], peft.PeftConfig]:
    return tuner(peft.LoraConfig, **{"r": 4, "target_modules": "all-linear", "lora_dropout": 0.1} | options)


NO_HEAD = dict.fromkeys(LANGUAGE, "nothing to train")
NO_BIASES = {"causal": "has none", "seq2seq": "has none"}

ROWS = [
    Row("Full", Full),
    Row("LinearProbe", LinearProbe, refused=NO_HEAD),
    Row("TopLayers", lambda: TopLayers(1), home="causal"),
    Row("BitFit", BitFit, refused=NO_BIASES),
    Row("NormTuning", NormTuning, home="causal"),
    Row("Bottleneck-houlsby", lambda: Bottleneck("houlsby", width=4), home="seq2seq"),
    Row("Bottleneck-pfeiffer", lambda: Bottleneck("pfeiffer", width=4)),
    Row("Bottleneck-parallel", lambda: Bottleneck("parallel", width=4, scale=4.0), home="causal"),
    Row("LoRA", lora(), home="causal"),
    Row("LoRA-DoRA", lora(use_dora=True)),
    Row("LoRA-PiSSA", lora(init_lora_weights="pissa"), home="causal"),
    Row("LoRA-biases", lora(bias="all", target_modules=["query", "value"]), refused=dict.fromkeys(LANGUAGE, "target")),
    Row("IA3", tuner(peft.IA3Config, target_modules="all-linear", feedforward_modules=[])),
    Row("VeRA", tuner(peft.VeraConfig, r=8, target_modules="all-linear", vera_dropout=0.1), home="causal"),
    Row("OFT", tuner(peft.OFTConfig, oft_block_size=8, target_modules="all-linear"), home="causal"),
    Row("LoHa", tuner(peft.LoHaConfig, r=4, target_modules="all-linear")),
    Row("AdaLoRA", tuner(peft.AdaLoraConfig, init_r=4, target_r=2, total_step=2, target_modules="all-linear")),
    Row("PTuning", tuner(peft.PromptEncoderConfig, num_virtual_tokens=4, encoder_hidden_size=8), home="causal"),
    Row("PromptTuning", tuner(peft.PromptTuningConfig, num_virtual_tokens=4)),
    Row(
        "PrefixTuning",
        tuner(peft.PrefixTuningConfig, num_virtual_tokens=4),
        home="causal",
        exceptions={"checkpointing": "its prompt is a cache, which transformers drops under activation checkpointing"},
    ),
]


WHOLE = {"gradient": "LoRA", "reload": "LoRA", "merge": "LoRA", "accumulation": "LoRA"}
"""Check -> the adapter whose every task belongs to ``make test``."""


def cases(check: str):
    """Every adapter with every task; beyond an adapter's home and ``WHOLE`` they are slow."""
    for row in ROWS:
        for kind in KINDS:
            if kind in row.refused or check in row.exceptions:
                continue
            quick = kind == row.home or row.name == WHOLE.get(check)
            yield pytest.param(row, kind, id=f"{row.name}-{kind}", marks=() if quick else pytest.mark.slow)


def every(check: str):
    """The test's cases."""
    return pytest.mark.parametrize(("row", "kind"), list(cases(check)))
