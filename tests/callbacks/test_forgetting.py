"""What is lost of the base: on general text and in its predictions; from the same rows every time, leaving no trace."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import KasaConfig, LoraConfig
from scipy import stats

from finelab import callbacks, models
from finelab.callbacks.beside_base import divergences
from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.forgetting import Forgetting
from finelab.callbacks.results import Results
from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, MixtureDataModule, TextDataModule
from finelab.data.mixture_specs import SourceSpec
from finelab.models.adapters import Full


def written(folder, name: str, words: list[str], lengths: list[int], seed: int) -> str:
    generator = np.random.default_rng(seed)
    rows = [
        {"text": " ".join(generator.choice(words, length)), "label": ["low", "high"][i % 2]}
        for i, length in enumerate(lengths)
    ]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def texts(tmp_path):
    """A task, and general text of other words: six documents, of which two have several windows."""
    own = ["red", "blue", "green", "tea", "sea"]
    return {
        "train": written(tmp_path, "train", own, [12] * 24, 1),
        "validation": written(tmp_path, "validation", own, [9, 30, 8, 7, 40, 6, 5, 9], 2),
        "general": written(tmp_path, "general", ["one", "two", "three", "oak"], [60, 5, 40, 7, 9, 4], 3),
        "cache": str(tmp_path / "cache"),
    }


@pytest.fixture
def documents(texts):
    def make(base="tiny://llama", template=None, **options):
        source = {split: texts[split] for split in ("train", "validation")}
        options = {"context": 64, "batch_size": 4, "cache_dir": texts["cache"]} | options
        return TextDataModule(source, template or Documents(), base=base, **options)

    return make


def causal(adapter=None, rate=0.5):
    return models.CausalLM("tiny://llama", adapter or Full(), functools.partial(torch.optim.SGD, lr=rate))


def lora(**options):
    return LoraConfig(r=2, lora_alpha=8, lora_dropout=0.3, target_modules=["q_proj", "v_proj"], **options)


def every(forgetting, results=None):
    results = results or Results()
    return [forgetting, callbacks.Baseline(results), callbacks.FinalEvaluation(results)]


def losses(module, loader) -> dict[int, tuple[float, int]]:
    found = {}
    with undisturbed(module):
        for batch in loader:
            columns = module.example_columns(module.score(batch), batch)
            for sample, *values in zip(*(columns[name] for name in ("sample_id", "nll", "tokens")), strict=True):
                found[sample] = tuple(values)
    return found


@pytest.mark.parametrize("make", [Full, lora], ids=["Full", "LoRA"])
def test_general_text_before_and_after_with_its_interval(make, texts, documents, fit) -> None:
    forgetting = Forgetting(texts["general"], context=64, rows=5, cache_dir=texts["cache"])
    results, module = Results(), causal(make())
    trainer = fit(module, documents(), every(forgetting, results), max_epochs=2)
    found = forgetting.findings()
    assert json.loads(json.dumps(found, allow_nan=False)) == found

    general = TextDataModule({"test": texts["general"]}, Documents(), "tiny://llama", 64, cache_dir=texts["cache"])
    general.use_labels(None)
    fresh = causal(make())
    fresh.configure_model()
    before, after = (losses(each, general.evaluation_loader("test")) for each in (fresh, module))
    tokens = sum(count for _, count in before.values())
    own = found["general"]
    assert (own["rows"], own["documents"], own["tokens"]) == (len(before), 6, tokens) and len(before) > 8
    assert own["before"]["nll"] == pytest.approx(sum(nll for nll, _ in before.values()) / tokens, rel=1e-5)
    assert own["after"]["nll"] == pytest.approx(sum(nll for nll, _ in after.values()) / tokens, rel=1e-5)
    size = sum(len(json.loads(line)["text"]) for line in Path(texts["general"]).read_text().splitlines())
    assert own["after"]["bits_per_byte"] == pytest.approx(own["after"]["nll"] * tokens / np.log(2) / size, rel=1e-6)

    samples = np.array(sorted(before))
    document = general.document_of("test", samples)
    change = np.array([after[i][0] - before[i][0] for i in samples])
    count = np.array([before[i][1] for i in samples])
    rise = change.sum() / tokens
    own_shares, without = [], []
    for name in np.unique(document):
        left = document != name
        own_shares.append(count[~left].sum() / tokens)
        without.append(change[left].sum() / count[left].sum())
    error = np.sqrt(5 / 6 * np.square(np.array(without) - rise).sum())  # the jackknife that leaves out a document
    reach = stats.t.ppf(0.975, 1 / np.square(own_shares).sum() - 1) * error
    assert own["difference"]["nll"] == pytest.approx(rise, rel=1e-5)
    assert own["difference"]["low"] == pytest.approx(rise - reach, rel=1e-4)
    assert own["difference"]["high"] == pytest.approx(rise + reach, rel=1e-4)

    steps = [entry["step"] for entry in found["course"]]
    assert steps == [6, 12] and int(trainer.global_step) == 12
    last = found["course"][-1]
    now = float(trainer.callback_metrics["val/nll"])
    assert last["learning"] == pytest.approx(results.before["validation"]["base"]["nll"] - now, rel=1e-6)
    chosen = [int(row["sample_id"]) for row in forgetting._texts[:5]]
    few = {
        name: sum(each[i][0] for i in chosen) / sum(each[i][1] for i in chosen)
        for name, each in (("before", before), ("after", after))
    }
    assert last["general_nll"] == pytest.approx(few["after"], rel=1e-5)
    assert last["forgetting"] == pytest.approx(few["after"] - few["before"], rel=1e-4)
    assert float(trainer.callback_metrics["forgetting/general_nll"]) == pytest.approx(few["after"], rel=1e-5)
    whole = divergences(module, list(documents().evaluation_loader("validation")), trainer)
    assert (found["kl"]["kl_base_tuned"], found["kl"]["kl_tuned_base"]) == pytest.approx(whole, rel=1e-4)
    assert whole[0] > 1e-4


def test_without_general_text_the_divergence_is_still_there(documents, fit) -> None:
    forgetting = Forgetting()
    fit(causal(lora()), documents(), every(forgetting), max_epochs=1)
    found = forgetting.findings()
    assert "no GENERAL text was given" in found["general"]["missing"]
    assert found["kl"]["kl_base_tuned"] > 0 and found["kl"]["rows"] >= 8
    assert "forgetting" not in found["course"][0] and found["course"][0]["kl_base_tuned"] > 0


def test_a_new_head_has_a_drift_of_its_features(texts, documents, classifier, fit) -> None:
    forgetting = Forgetting()
    fit(classifier(), documents("tiny://bert", Classification()), every(forgetting), max_epochs=1)
    found = forgetting.findings()
    assert "reads a new head" in found["general"]["missing"]
    assert "begin as noise" in found["kl"]["kl_base_tuned"]["missing"]
    assert found["feature_drift"] == pytest.approx(found["course"][-1]["feature_drift"]) and found["feature_drift"] > 0
    assert "kl_base_tuned" not in found["course"][0] and "learning" in found["course"][0]


def test_a_base_that_is_lost_leaves_nothing_to_compare_with(texts, documents, fit) -> None:
    forgetting = Forgetting(texts["general"], context=64, cache_dir=texts["cache"])
    fit(causal(lora(kasa_config=KasaConfig())), documents(), every(forgetting), max_epochs=1)
    found = forgetting.findings()
    for part in (found["general"], found["kl"]["kl_base_tuned"], found["kl"]["kl_tuned_base"]):
        assert "has rewritten its weights" in part["missing"]


def test_one_document_has_a_difference_without_an_interval(texts, documents, fit, tmp_path) -> None:
    alone = written(tmp_path, "alone", ["one"], [90], 5)
    forgetting = Forgetting({"test": alone}, context=64, cache_dir=texts["cache"])
    fit(causal(), documents(), every(forgetting), max_steps=2)
    difference = forgetting.findings()["general"]["difference"]
    assert difference["nll"] != 0 and difference["missing"] == "there is one document" and "low" not in difference


def test_an_evaluation_set_of_the_data_by_its_name(texts, fit) -> None:
    def data(**sets):
        sources = {"task": SourceSpec({split: texts[split] for split in ("train", "validation")})}
        evaluated = {name: SourceSpec({split: texts["general"]}) for name, split in sets.items()}
        options = {"context": 64, "batch_size": 4, "cache_dir": texts["cache"]}
        return MixtureDataModule(sources, "tiny://llama", Documents(), eval_sets=evaluated, **options)

    forgetting, results = Forgetting("other"), Results()
    fit(causal(), data(other="validation"), every(forgetting, results), max_epochs=1)
    found = forgetting.findings()["general"]
    assert found["name"] == "other" and found["documents"] == 6
    for name, when in (
        (results.before["validation/other"]["base"], "before"),
        (results.after["validation/other"], "after"),
    ):
        assert found[when]["nll"] == pytest.approx(name["nll"], rel=1e-5)
    with pytest.raises(UserError, match="test split alone"):
        fit(causal(), data(other="test"), every(Forgetting("other")), max_epochs=1)
    with pytest.raises(UserError, match="which is trained on"):
        fit(causal(), data(other="validation"), every(Forgetting("task")), max_epochs=1)


def test_refusals(texts, documents, classifier, fit) -> None:
    with pytest.raises(UserError, match="rows is 0"):
        Forgetting(rows=0)
    with pytest.raises(UserError, match="final_rows no less"):
        Forgetting(rows=9, final_rows=8)
    with pytest.raises(UserError, match=r"Forgetting: general: .*nowhere\.jsonl"):
        fit(causal(), documents(), every(Forgetting("./nowhere.jsonl")), max_steps=1)
    with pytest.raises(UserError, match=r"general is '\./nowhere.jsonl', .* reads a new head.* Remove general"):
        task = documents("tiny://bert", Classification())
        fit(classifier(), task, every(Forgetting("./nowhere.jsonl")), max_steps=1)
    again = Forgetting(texts["general"], context=64, cache_dir=texts["cache"])
    again.load_state_dict({"course": [], "base": {}, "fingerprint": "of another file"})
    with pytest.raises(UserError, match="has other rows than when this run began"):
        fit(causal(), documents(), every(again), max_steps=1)


@pytest.mark.parametrize("make", [Full, lora], ids=["Full", "LoRA"])
def test_no_draw_of_training_is_shifted(make, texts, documents, fit, flat) -> None:
    ends = []
    for own in ([], [Forgetting(texts["general"], context=64, rows=3, cache_dir=texts["cache"]), callbacks.Movement()]):
        module = causal(make())
        # Inside an accumulation window as well, where gradients wait.
        fit(module, documents(), own, max_epochs=2, val_check_interval=2, accumulate_grad_batches=3)
        ends.append(flat(module))
    assert torch.equal(*ends)


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_the_pictures_first_point_is_the_reference(kind, classifier, language_model, data, fit, monkeypatch) -> None:
    """A new head starts from noise: the point at (0, 0) is its reference, not the untouched base with that head."""
    drawn = []

    def draw(steps, learning, forgetting, names, origin):
        drawn.append((steps[0], learning[0], forgetting[0], origin))

    monkeypatch.setattr("finelab.callbacks.forgetting.learning_vs_forgetting", draw)
    module = classifier() if kind == "classes" else language_model()
    fit(module, data(kind), every(Forgetting(rows=4, final_rows=4)), max_epochs=1)
    origin = "the reference on the frozen base, no new head" if kind == "classes" else "the untouched base"
    assert set(drawn) == {(0, 0.0, 0.0, origin)}
