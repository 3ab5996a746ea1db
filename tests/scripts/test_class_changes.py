"""A class in the place of another one of the configuration starts from its own defaults."""

import pytest

from finelab.scripts.cli import main
from finelab.scripts.lightning_cli import FinelabCLI


@pytest.fixture
def parsed(monkeypatch, outside):
    """The ``model.init_args`` of a fit's resolved configuration."""
    found = []
    monkeypatch.setattr(FinelabCLI, "instantiate_classes", lambda self: found.append(self.resolved_config()))
    monkeypatch.setattr(FinelabCLI, "_run_subcommand", lambda self, subcommand: None)

    def run(*argv):
        assert main(["fit", *map(str, argv), "--trust-module", outside]) == 0
        return found[-1]["model"]["init_args"]

    return run


def test_an_adapter_of_the_command_line(config, parsed):
    vera = parsed("-c", config(), "--model.adapter=peft.VeraConfig")["adapter"]
    assert vera["class_path"] == "peft.VeraConfig"
    assert (vera["init_args"]["r"], vera["init_args"]["target_modules"]) == (256, None)
    bottleneck = parsed("-c", config(), "--model.adapter=finelab.models.adapters.Bottleneck")["adapter"]
    assert bottleneck["class_path"] == "finelab.models.adapters.Bottleneck" and "r" not in bottleneck["init_args"]


def test_its_own_arguments_count(config, parsed):
    vera = parsed("-c", config(), "--model.adapter=peft.VeraConfig", "--model.adapter.r=16")["adapter"]
    assert (vera["init_args"]["r"], vera["init_args"]["target_modules"]) == (16, None)


def test_an_argument_without_a_class_leaves_the_others(config, parsed):
    lora = parsed("-c", config(), "--model.adapter.r=16")["adapter"]
    assert lora["class_path"] == "peft.LoraConfig"
    assert (lora["init_args"]["r"], lora["init_args"]["target_modules"]) == (16, "all-linear")


def test_the_same_class_again_leaves_its_arguments(config, parsed):
    assert parsed("-c", config(), "--model.adapter=peft.LoraConfig")["adapter"]["init_args"]["r"] == 2


OVER = """
model:
  init_args:
    adapter: {class_path: peft.OFTConfig, init_args: {oft_block_size: 4}}
    optimizer: {class_path: torch.optim.Adam}
"""


def test_a_second_file(config, parsed, here):
    (here / "over.yaml").write_text(OVER)
    found = parsed("-c", config("lr: 0.001", "lr: 0.5"), "-c", "over.yaml")
    oft = found["adapter"]["init_args"]
    assert (oft["oft_block_size"], oft["r"], oft["target_modules"]) == (4, 0, None)
    assert found["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": found["optimizer"]["init_args"]}
    assert found["optimizer"]["init_args"]["lr"] == 0.001


def test_a_model_keeps_what_every_model_has(config, parsed, outside):
    found = parsed("-c", config(), f"--model={outside}.Classifier")
    assert found["base"] == "tiny://bert" and found["adapter"]["init_args"]["r"] == 2
