"""Forgetting and movement of a run that was stopped, and of one on two ranks, are those of a run that was not."""

import functools
import json
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from peft import LoraConfig

from finelab import callbacks, models
from finelab.callbacks.forgetting import Forgetting
from finelab.callbacks.movement import Movement
from finelab.callbacks.results import Results
from finelab.data import Documents, TextDataModule
from finelab.models.adapters import Full
from finelab.models.warmup_linear import WarmupLinear

from .ranks import AS_RANKS, in_two_ranks
from .stopped_runs import Case, Stop, compare


@dataclass
class LanguageCase(Case):
    """A language model instead of a classifier.

    Args:
        adapter: makes it.
    """

    adapter: str = "LoRA"

    def make_data(self) -> TextDataModule:
        options = {"context": 64, "batch_size": 4, "cache_dir": str(self.folder / "tokens")}
        return TextDataModule(self.files(), Documents(), "tiny://llama", **options)

    def make_module(self) -> models.CausalLM:
        lora = LoraConfig(r=2, lora_alpha=8, lora_dropout=0.2, target_modules=r".*\.(q_proj|v_proj)")
        adapter = lora if self.adapter == "LoRA" else Full()
        rate = functools.partial(torch.optim.AdamW, lr=0.01)
        return models.CausalLM("tiny://llama", adapter, rate, schedule=WarmupLinear())


def case_of(tmp_path, adapter: str, **options) -> LanguageCase:
    def general() -> list:
        text = case.rows("general", 6, 9000)
        return [Forgetting(text, context=64, rows=3, final_rows=8, cache_dir=str(tmp_path / "tokens"))]

    case = LanguageCase(tmp_path, {"val_check_interval": 5} | options, own=general, adapter=adapter)
    return case


STOPS = {
    "before a validation": partial(Stop, "on_validation_start", 2),
    "within a validation": partial(Stop, "on_validation_batch_start", 5),
    "killed after a validation": partial(Stop, "on_train_batch_start", 8, kills=True),
    "in the evaluation at the end": partial(Stop, "score", 6),
}


QUICK = ("LoRA", ["within a validation"])
EVERY = [pytest.param(adapter, list(STOPS), marks=pytest.mark.slow) for adapter in ("LoRA", "Full")]


@pytest.mark.parametrize(("adapter", "stops"), [QUICK, *EVERY], ids=["quick", "LoRA", "Full"])
def test_a_stop_changes_nothing(adapter, stops, tmp_path) -> None:
    case = case_of(tmp_path, adapter)
    expected = case.straight()
    found = expected.record["findings"]
    assert len(found["forgetting"]["course"]) >= 4 and found["forgetting"]["general"]["difference"]["nll"] != 0
    assert len(found["movement"]["steps"]) == len(found["forgetting"]["course"])
    tags = {tag for tag, *_ in expected.points}
    assert {"forgetting/general_nll", "forgetting/kl_base_tuned", "movement/all", "delta/val/nll"} <= tags
    assert ("forgetting/learning_vs_forgetting" in expected.texts) and ("movement/blocks" in expected.texts)
    for name in stops:
        compare(expected, case.stopped(name.replace(" ", "-"), STOPS[name]()))


@pytest.mark.slow
def test_a_stop_in_the_last_validation_of_max_steps_loses_no_entry(tmp_path) -> None:
    """A state before it would be of a run that is done: nothing would begin that validation anew."""
    case = case_of(tmp_path, "LoRA", max_steps=4, val_check_interval=6)
    expected = case.straight()
    assert [entry["step"] for entry in expected.record["findings"]["forgetting"]["course"]][-1] == 4
    compare(expected, case.stopped("stopped", Stop("on_validation_batch_start", 3)))


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_two_ranks_find_what_one_finds(kind, classifier, language_model, data, fit, tmp_path) -> None:
    def train(batch_size: int, name: str, **options) -> None:
        forgetting, movement, results = Forgetting(rows=5, final_rows=9), Movement(), Results()
        module = classifier(rate=1e-2) if kind == "classes" else language_model(rate=1e-2)
        module.configure_model()
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):  # ranks have masks of their own
                part.p = 0.0
        every = [movement, forgetting, callbacks.Baseline(results), callbacks.FinalEvaluation(results)]
        fit(module, data(kind, batch_size=batch_size), every, max_epochs=1, **options)
        for each in (forgetting, movement):
            own = tmp_path / f"{name}-{each.name()}-{torch.distributed.get_rank() if options else 0}.json"
            own.write_text(json.dumps(each.findings()))

    train(4, "one")
    in_two_ranks(partial(train, 2, "two", **AS_RANKS))
    for name in ("forgetting", "movement"):
        one, *two = (
            json.loads((tmp_path / f"{ranks}-{name}-{rank}.json").read_text())
            for ranks, rank in (("one", 0), ("two", 0), ("two", 1))
        )
        assert two[0] == two[1]
        near(one, two[0], name)


def near(one, other, where: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            near(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            near(*pair, f"{where}.{i}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=5e-2, abs=1e-6), where
    else:
        assert one == other, where
