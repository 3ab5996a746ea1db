"""Adapters that need more than their name, from the command line to the end of a run."""

import pytest

from finelab.contracts.record import RECORD_FILE
from finelab.scripts.cli import main

ADALORA = {"total_step": 3, "init_r": 4, "target_r": 2, "target_modules": "all-linear"}
FITS = {
    "EVA": ["--model.adapter.init_lora_weights=eva"],
    "CorDA": ["--model.adapter.init_lora_weights=corda"],
    "LoRA-GA": ["--model.adapter.lora_ga_config.direction=ArB2r"],
    "AdaLoRA": ["--model.adapter=peft.AdaLoraConfig", *(f"--model.adapter.{k}={v}" for k, v in ADALORA.items())],
}


@pytest.mark.parametrize("case", FITS)
def test_a_fit_ends_with_the_best_weights(case, config, here):
    assert main(["fit", "-c", str(config()), "--run.name", "one", *FITS[case]]) == 0
    assert (here / "runs" / "one" / RECORD_FILE).is_file()


REFUSED = {
    "peft.AdaLoraConfig": "which cannot be built: AdaLoRA does not work when `total_step` is None",
    "peft.CPTConfig": "which cannot be built: CPTConfig only supports task_type = CAUSAL_LM",
    "peft.PrefixTuningConfig": "needs. Set model.adapter.num_virtual_tokens",
    "peft.AdaptionPromptConfig": "nothing about adapter_len and adapter_layers",
    "peft.TrainableTokensConfig": "nothing about token_indices",
    "peft.XLoraConfig": "nothing about adapters",
    "peft.PeftConfig": "describes none of them",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_that_needs_more_than_its_name_says_what(name, config, refused):
    """The option that lacks, and not the types that the parser tried."""
    paragraph = refused("fit", "-c", config(), f"--model.adapter={name}")
    assert REFUSED[name] in paragraph
    assert "subclass" not in paragraph and "Union" not in paragraph
    if "cannot be built" in paragraph:
        assert f"The command line sets --model.adapter {name}" in paragraph
