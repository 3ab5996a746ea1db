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
