"""Adapters of our own and learning rates from the command line: one change each; a paragraph where they cannot act."""

import pytest

from finelab.contracts.record import read_record
from finelab.scripts.cli import main

ADAPTER = "finelab.models.adapters."
CHANGES = {
    "Full": [],
    "LinearProbe": [],
    "BitFit": [],
    "NormTuning": [],
    "TopLayers": ["--model.adapter.k", "1"],
    "Bottleneck": ["--model.adapter.placement", "parallel", "--model.adapter.scale", "4"],
}
DECAY = ["--model.learning_rates+=finelab.models.LayerDecay", "--model.learning_rates.rate=0.9"]
PLUS = ["--model.learning_rates+=finelab.models.LoraPlus", "--model.learning_rates.ratio=4"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "Bottleneck" else pytest.mark.slow) for n in CHANGES]
)
def test_an_adapter_is_one_change(config, here, name, capsys):
    words = ["fit", "-c", str(config()), "--model.adapter", f"{ADAPTER}{name}", *CHANGES[name]]
    assert main([*words, "--run.name", "one", "--trainer.max_steps", "2"]) == 0, capsys.readouterr().err
    record = read_record(here / "runs" / "one")
    assert record.status == "finished" and record.adapter["name"] == name


def test_learning_rates_are_a_list(config, here, capsys):
    words = ["fit", "-c", str(config()), *DECAY, *PLUS, "--run.name", "one", "--trainer.max_steps", "2"]
    assert main(words) == 0, capsys.readouterr().err
    assert "rate: 0.9" in (here / "runs" / "one" / "config.yaml").read_text()
    record = read_record(here / "runs" / "one")
    assert record.learning_rates[0] == {"class": "finelab.models.LayerDecay", "settings": {"rate": 0.9}}
    assert record.learning_rates[1] == {"class": "finelab.models.LoraPlus", "settings": {"ratio": 4.0}}
    assert [entry["class"] for entry in record.regularizers] == ["finelab.models.regularizers.L2SP"]
    settings = {"r": 2, "target_modules": "all-linear"}
    assert (record.adapter["name"], record.adapter["class"]) == ("LoraConfig", "peft.LoraConfig")
    assert record.adapter["settings"] == settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PLUS, "--model.adapter", f"{ADAPTER}BitFit"], "trains no LoRA factor B"),
        (["--model.base", "tiny://t5", "--model.adapter", f"{ADAPTER}BitFit"], "T5EncoderModel has none"),
    ],
)
def test_what_cannot_act_is_a_paragraph(config, capsys, words, message):
    assert main(["fit", "-c", str(config()), *words]) == 2
    paragraph = capsys.readouterr().err.splitlines()[-1]
    assert paragraph.startswith("finelab: ") and message in paragraph


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.learning_rates+=finelab.models.LayerDecay", "--model.learning_rates.rate=1.5"], "got rate=1.5"),
        (["--model.adapter", f"{ADAPTER}Bottleneck", "--model.adapter.width", "0"], "width=0"),
        (["--model.adapter", f"{ADAPTER}Bottleneck", "--model.adapter.placement", "beside"], "beside"),
    ],
)
def test_what_a_setting_may_not_be_is_a_paragraph(config, refused, words, message):
    assert message in refused("fit", "-c", config(), *words)
