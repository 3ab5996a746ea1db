"""The prompt tuners of PEFT 0.21.2, over four virtual tokens."""

import torch
from peft import (
    AdaptionPromptConfig,
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)

from .adapter_cases import TASKS, Case

TEXT = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Is it good?", "tokenizer_name_or_path": "base"}


def besides_causal(refused: str) -> dict[str, str]:
    return {task: refused for task in TASKS if task != "causal LM"}


def prompt(name: str, make: type[PeftConfig], paper: str, case: dict | None = None, **options) -> Case:
    return Case(
        name,
        lambda task: make(**{"num_virtual_tokens": 4} | options),
        paper,
        **{"starts_as_base": False} | (case or {}),
    )


CASES = [
    prompt("PromptTuning", PromptTuningConfig, "2104.08691"),
    prompt("PromptTuning, from a text", PromptTuningConfig, "2104.08691", **TEXT),
    prompt("PromptTuning, from the vocabulary", PromptTuningConfig, "2104.08691", prompt_tuning_init="SAMPLE_VOCAB"),
    prompt("PromptEncoder (P-tuning)", PromptEncoderConfig, "2103.10385", encoder_hidden_size=16),
    prompt("PrefixTuning", PrefixTuningConfig, "2101.00190", init_weights="zero"),
    prompt("PrefixTuning, projected", PrefixTuningConfig, "2101.00190", prefix_projection=True, encoder_hidden_size=16),
    prompt("Cartridge", CartridgeConfig, "2506.06266"),
    prompt(
        "MultitaskPromptTuning",
        MultitaskPromptTuningConfig,
        "2303.02861",
        {"refused": besides_causal("PEFT hands no task"), "forward": {"task_ids": torch.zeros(4, dtype=torch.long)}},
    ),
    Case(
        "CPT",
        lambda task: CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[104, 101, 121, 33]),
        "2410.17222",
        besides_causal("causal language models only"),
        starts_as_base=False,
    ),
    Case(
        "AdaptionPrompt",
        lambda task: AdaptionPromptConfig(adapter_len=4, adapter_layers=2),
        "2303.16199",
        besides_causal("Unsupported model type"),
    ),
]
