"""`finelab export`: what it writes loads without finelab, or with our loader, and is the run's own function."""

import json
import math
import types
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.models.exported import load_exported
from finelab.scripts.cli import main
from finelab.scripts.exported import Exported

LORA = {"class_path": "peft.LoraConfig", "init_args": {"r": 2, "target_modules": "all-linear"}}
FULL = {"class_path": "finelab.models.adapters.Full"}
CLASSIFICATION = {"class_path": "finelab.data.Classification"}
CONVERSATION = {"class_path": "finelab.data.Instruction", "init_args": {"instruction": "text", "output": "label"}}


def trained(folder: Path, texts: Path, model: str, base: str, adapter: dict, template: dict, **more) -> Path:
    """A run of a few steps that are large enough to change every logit."""
    config = {
        "run": {"root": str(folder / "runs"), "name": "one"},
        "model": {
            "class_path": f"finelab.models.{model}",
            "init_args": {
                "base": base,
                "adapter": adapter,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
                **more,
            },
        },
        "data": {
            "class_path": "finelab.data.TextDataModule",
            "init_args": {"source": str(texts), "template": template, "batch_size": 4, "cache_dir": str(texts / "c")},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "logger": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", str(folder / "config.yaml")]) == 0
    return folder / "runs" / "one"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, texts):
    return trained(
        tmp_path_factory.mktemp("classifier"), texts, "SequenceClassifier", "tiny://bert", LORA, CLASSIFICATION
    )


@pytest.fixture(scope="module")
def writer(tmp_path_factory, texts):
    return trained(tmp_path_factory.mktemp("writer"), texts, "CausalLM", "tiny://llama", FULL, CONVERSATION)


@pytest.fixture(scope="module", params=["float32", "float16", "bfloat16"])
def of_each_type(request, tmp_path_factory, texts):
    folder, loading = tmp_path_factory.mktemp(request.param), {"dtype": request.param}
    return trained(folder, texts, "SequenceClassifier", "tiny://bert", LORA, CLASSIFICATION, loading=loading)


def difference(said: str) -> float:
    return float(said.split("two logits ")[1].split()[0])


def changed(said: str) -> float:
    return float(said.split("by up to ")[1].split()[0])


def export(run: Path, output: Path, *more: str) -> int:
    return main(["export", "--run", str(run), "--output", str(output), *more])


def test_a_classifier_answers_as_predict_does(classifier, here, capsys):
    assert export(classifier, here / "out") == 0
    said = capsys.readouterr().out
    assert "over 8 rows with 8 positions" in said and "(tolerance 0.0001 of that)" in said
    assert difference(said) < 1e-5 < changed(said)
    assert AutoModel.from_pretrained(here / "out", add_pooling_layer=False).config.use_cache
    rows = [{"text": "good nice"}, {"text": "bad"}, {"text": "neither of them, at some length"}]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", "--run", str(classifier), "--input", "rows.jsonl", "--output", "p.jsonl"]) == 0
    expected = [json.loads(line) for line in (here / "p.jsonl").read_text().splitlines()]
    (here / "out").rename(here / "moved")
    found = Exported(here / "moved").predict(rows)
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert [row["probability"] for row in found] == pytest.approx([row["probability"] for row in expected], abs=1e-6)
    assert {path.suffix for path in (here / "moved").iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_a_language_model_is_a_plain_folder(writer, here, capsys):
    assert export(writer, here / "out", "--rows", "3") == 0
    assert "over 3 rows" in capsys.readouterr().out
    plain = AutoModelForCausalLM.from_pretrained(here / "out")
    tokenizer = AutoTokenizer.from_pretrained(here / "out")
    base = AutoConfig.from_pretrained(resolve("tiny://llama").path)
    assert plain.config.use_cache == base.use_cache
    assert not (here / "out" / "finelab.json").exists()
    chat = json.loads((writer / "checkpoints" / "best" / "finelab.json").read_text()).get("chat_template")
    assert chat is not None and tokenizer.chat_template == '{{ "<s>" }}' + chat, "training began with that token"
    rows = [{"text": "good nice"}, {"text": "bad"}]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", "--run", str(writer), "--input", "rows.jsonl", "--output", "p.jsonl"]) == 0
    expected = [json.loads(line)["text"] for line in (here / "p.jsonl").read_text().splitlines()]
    for row, text in zip(rows, expected, strict=True):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["text"]}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        written = plain.generate(**asked, max_new_tokens=64, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True) == text


def test_a_base_of_each_type_is_trained_and_exported(of_each_type, here, capsys):
    assert export(of_each_type, here / "out") == 0
    said = capsys.readouterr().out
    assert difference(said) < 0.2 * changed(said)


def test_a_difference_above_the_tolerance_leaves_nothing(classifier, here, capsys):
    assert export(classifier, here / "out", "--tolerance", "0") == 1
    assert "was not written" in capsys.readouterr().err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "full"], "never overwritten"),
        (["--output", "no/where"], "is missing"),
        ([], "needs both"),
        (["--output", "out", "--rows", "0"], "--rows 0"),
        (["--output", "out", "--tolerance", "little"], "--tolerance little"),
        (["--output", "out", "--input", "x"], "belongs to predict"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(classifier, here, refused, options, message):
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    assert message in refused("export", "--run", classifier, *options)


def test_the_options_of_export_are_its_own(classifier, refused):
    assert "--rows" in refused("validate", "--run", classifier, "--rows", "3")


def test_what_does_not_merge_is_told_what_to_do(tmp_path_factory, texts, refused):
    prompts = {"class_path": "peft.PromptTuningConfig", "init_args": {"num_virtual_tokens": 4}}
    run = trained(tmp_path_factory.mktemp("p"), texts, "SequenceClassifier", "tiny://bert", prompts, CLASSIFICATION)
    assert "PeftModel.from_pretrained" in refused("export", "--run", run, "--output", "out")


def test_other_weights_than_were_written_are_refused(classifier, here):
    assert export(classifier, here / "out") == 0
    head = here / "out" / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-1] ^= 1
    head.write_bytes(content)
    with pytest.raises(UserError, match="not the file that was written"):
        load_exported(here / "out")
    with pytest.raises(UserError, match="checkpoint of a run"):
        load_exported(classifier / "checkpoints" / "best")


def test_an_exported_language_model_is_read_by_transformers(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="AutoModelForCausalLM.*AutoModelForSeq2SeqLM"):
        Exported(tmp_path)


def test_a_folder_cannot_name_code(classifier, here):
    assert export(classifier, here / "out") == 0
    file = here / "out" / "finelab.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps(manifest | {"template": {"template": "os.system"}}))
    with pytest.raises(UserError, match="not allowed"):
        Exported(here / "out")
    file.write_text(json.dumps(manifest | {"target": "Loading"}))
    with pytest.raises(UserError, match="no class of finelab.models"):
        load_exported(here / "out")


@pytest.mark.parametrize("options", [[], ["--tolerance", "1000"]], ids=["default", "any"])
def test_a_merge_that_does_nothing_is_seen(of_each_type, here, monkeypatch, capsys, options):
    """The logits of 16 bits are near the base's, too; accepting a difference does not accept the base."""
    from finelab.models.adapters.peft import Peft

    for cls in (Peft, *Peft.__subclasses__()):
        if "merge" in vars(cls):
            monkeypatch.setattr(cls, "merge", lambda self, model: model.unload())
    assert export(of_each_type, here / "out", *options) == 1
    said = capsys.readouterr().err
    assert difference(said) == changed(said) > 0
    assert "--tolerance" not in said
    assert not list(here.iterdir())


def test_an_export_of_a_base_that_is_lost_is_compared_with_the_run_alone(tmp_path_factory, texts, here, capsys):
    kasa = LORA | {"init_args": LORA["init_args"] | {"kasa_config": {"class_path": "peft.KasaConfig"}}}
    run = trained(tmp_path_factory.mktemp("k"), texts, "SequenceClassifier", "tiny://bert", kasa, CLASSIFICATION)
    assert export(run, here / "out") == 0
    assert "its base cannot be found again" in capsys.readouterr().out


def test_rows_without_a_supervised_position_are_no_comparison(classifier, here, monkeypatch, refused):
    from finelab.scripts import export as command

    rows = command.real_text
    monkeypatch.setattr(command, "real_text", lambda data: list(rows(data))[:0])
    assert "have no supervised position" in refused("export", "--run", classifier, "--output", "out")
    assert not list(here.glob("*out*"))


def test_choices_that_there_are_not_are_no_scale():
    """One question with two choices of three: the third's logit is a number that stands for none."""
    from finelab.models.losses import IMPOSSIBLE
    from finelab.scripts.export import largest_difference, logits

    class Chooser(torch.nn.Module):
        def score(self, batch):
            return types.SimpleNamespace(logits=batch)

    found = list(logits(Chooser(), [torch.tensor([[1.0, 2.0, IMPOSSIBLE]]), torch.zeros(0, 3)]))
    assert largest_difference(found, map(torch.zeros_like, found)) == 2.0
    assert math.isnan(largest_difference(found, [torch.full((1, 3), math.nan), found[1]]))
