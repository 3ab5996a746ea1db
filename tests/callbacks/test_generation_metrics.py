"""Metrics of generated text: of the right rows and references, for base and tuned, and without a trace in training."""

import builtins
import json

import lightning as L
import pyarrow.parquet
import pytest
import sacrebleu
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab.callbacks import GenerationMetrics, generation_metrics
from finelab.callbacks.answer_scores import WRITING
from finelab.callbacks.panels import as_code
from finelab.callbacks.questions import AskedRow, Question, Written
from finelab.callbacks.split_evaluation import evaluate_split
from finelab.callbacks.text_scores import answer_of, exact_matches
from finelab.contracts.batch import IGNORE
from finelab.contracts.data import EvaluationSet
from finelab.contracts.errors import UserError
from finelab.scripts.cli import main

CALLBACK = {
    "class_path": "finelab.callbacks.GenerationMetrics",
    "init_args": {"metrics": ["bleu", "chrf", "rouge_l", "exact_match"], "rows": 5, "max_new_tokens": 12, "samples": 2},
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Runs of a tiny model on rows with two references each, with and without the metrics."""
    folder = tmp_path_factory.mktemp("generated")
    for split, count in (("train", 16), ("validation", 8), ("test", 4)):
        rows = [{"prompt": f"{split} number {i}", "response": [f"a{i}", f"it is b{i}"]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(name, callbacks, **changes):
        config = {
            "evaluate_test": True,
            "model": {
                "class_path": "finelab.models.CausalLM",
                "init_args": {
                    "base": "tiny://llama",
                    "adapter": {"class_path": "finelab.models.adapters.Full"},
                    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
                },
            },
            "data": {
                "class_path": "finelab.data.TextDataModule",
                "init_args": {
                    "source": str(folder),
                    "template": {"class_path": "finelab.data.PromptResponse"},
                    "context": 64,
                    "batch_size": 4,
                    "cache_dir": str(folder / "cache"),
                },
            },
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "callbacks": callbacks},
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config | changes))
        assert main(["fit", "-c", str(path), "--run.root", str(folder / "runs"), "--run.name", name]) == 0
        directory = folder / "runs" / name
        return directory, json.loads((directory / "record.json").read_text())

    return run("with", [CALLBACK], monitor="val/chrf"), run("without", [], monitor="val/nll")


def test_base_and_tuned_are_measured_on_validation_and_test(fitted):
    (_, record), _ = fitted
    for split in ("validation", "test"):
        measured = record["metrics"][split]
        for metrics in (measured["before"]["base"], measured["after"]):
            assert {"nll", "bleu", "chrf", "rouge_l", "exact_match", *WRITING} <= set(metrics)
    assert record["best"]["monitor"] == "val/chrf" and record["best"]["mode"] == "max"
    assert all({"chrf", "generation_length"} <= set(entry) for entry in record["history"]), record["history"]
    assert any(note.startswith("chrf: nrefs:2|case:mixed") for note in record["notes"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_scores_are_sacrebleus_of_the_first_questions_and_texts_are_kept(fitted, when):
    (directory, record), _ = fitted
    table = pyarrow.parquet.read_table(directory / record["examples"][f"validation-{when}"]).to_pydict()
    assert table["sample_id"] == list(range(16)), "two references a row"
    assert [text is not None for text in table["generated"]] == [sample < 10 for sample in range(16)]
    assert table["generated"][0] == table["generated"][1], "one text for both references of a row"
    texts = table["generated"][:10:2]
    streams = [[f"a{i}" for i in range(5)], [f"it is b{i}" for i in range(5)]]
    measured = record["metrics"]["validation"]
    measured = measured["after"] if when == "after" else measured["before"]["base"]
    assert measured["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, streams).score)
    assert measured["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, streams).score)


@pytest.mark.parametrize("when", ["before", "after"])
def test_lengths_ends_and_nats_are_those_of_the_kept_answers(fitted, when):
    (directory, record), _ = fitted
    table = pyarrow.parquet.read_table(directory / record["examples"][f"validation-{when}"]).to_pydict()
    measured = record["metrics"]["validation"]
    measured = measured["after"] if when == "after" else measured["before"]["base"]
    own = range(0, 10, 2)
    tokens = [table["generated_tokens"][i] for i in own]
    assert max(tokens) <= 12 and sum(tokens) > 0
    assert measured["generation_length"] == pytest.approx(sum(tokens) / 5)
    assert measured["generation_ended"] == pytest.approx(sum(table["generated_ended"][i] for i in own) / 5)
    assert measured["generation_empty"] == pytest.approx(sum(not table["generated"][i].strip() for i in own) / 5)
    assert measured["generation_nll"] == pytest.approx(sum(table["generated_nll"][i] for i in own) / sum(tokens))
    assert all(table["generated_ended"][i] == (table["generated_tokens"][i] < 12) for i in own)


def panels(directory):
    """Tag -> step -> text of TensorBoard's text panels."""
    events = EventAccumulator(str(directory)).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("samples/")]
    return {
        tag.removesuffix("/text_summary"): {
            event.step: event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)
        }
        for tag in tags
    }


def test_samples_of_base_and_model_are_shown_at_every_validation_and_kept(fitted):
    (directory, record), (other, _) = fitted
    found = panels(directory)
    assert set(found) == {"samples/validation", "samples/best"} and not panels(other)
    assert list(found["samples/validation"]) == [0, 8, 16], "before training and at both validations"
    before, after = (
        pyarrow.parquet.read_table(directory / record["examples"][f"validation-{when}"]).to_pydict()["generated"]
        for when in ("before", "after")
    )
    samples = record["findings"]["generation_metrics"]["samples"]
    assert [(own["base"], own["model"]) for own in samples] == [(before[0], after[0]), (before[2], after[2])]
    assert [own["references"] for own in samples] == [["a0", "it is b0"], ["a1", "it is b1"]]
    assert all(f"validation number {i}" in own["prompt"] for i, own in enumerate(samples))
    last = found["samples/best"][16]
    for own in samples:
        assert all(as_code(own[name]) in last for name in ("prompt", "base", "model"))


def test_the_bases_answers_survive_a_resume():
    first, second = GenerationMetrics(["chrf"]), GenerationMetrics(["chrf"])
    first.of_base = {3: "so it was"}
    second.load_state_dict(first.state_dict())
    assert second.of_base == {3: "so it was"}
    assert first.state_key == second.state_key != GenerationMetrics(["bleu"]).state_key


def question(text, references, tokens=3, nll=1.5):
    return Question((1, 2), 0, [0], [(3,)], references, Written(text, tokens, True, nll))


@pytest.mark.parametrize(
    ("questions", "metrics", "why"),
    [
        ([], {}, dict.fromkeys(["chrf", "rouge_l", *WRITING], "no question")),
        (
            [question("", ["x"], 0, 0.0)],
            {"chrf": 0, "rouge_l": 0, "generation_length": 0, "generation_ended": 1, "generation_empty": 1},
            {"generation_nll": "every answer is empty"},
        ),
        (
            [question("x", ["x"], nll=None)],
            {"chrf": 100, "rouge_l": 1, "generation_length": 3, "generation_ended": 1, "generation_empty": 0},
            {"generation_nll": "beam search"},
        ),
        (
            [question("x", [""])],
            {"generation_length": 3, "generation_ended": 1, "generation_empty": 0, "generation_nll": 0.5},
            dict.fromkeys(["chrf", "rouge_l"], "reference is empty"),
        ),
    ],
    ids=["no question", "empty answers", "beams", "empty references"],
)
def test_what_is_not_defined_is_missing_with_its_reason_and_what_is_zero_is_zero(questions, metrics, why):
    own = GenerationMetrics(["chrf", "rouge_l"])
    assert own.scores([questions])[0] == pytest.approx(metrics)
    missing = own.missing([questions])
    assert missing.keys() == why.keys() and all(why[name] in missing[name] for name in why)


def test_training_is_the_same_with_and_without(fitted):
    (directory, record), (other, plain) = fitted
    assert record["order_digest"] == plain["order_digest"]
    ours = load_file(directory / "checkpoints" / "last" / "weights.safetensors")
    theirs = load_file(other / "checkpoints" / "last" / "weights.safetensors")
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert (
        record["metrics"]["validation"]["before"]["base"]["nll"]
        == plain["metrics"]["validation"]["before"]["base"]["nll"]
    )


def test_numbers_of_references_may_differ():
    score = GenerationMetrics(["chrf"]).scorers["chrf"]
    value, _ = score(["the cat", "a dog"], [["the cat"], ["the hound", "a dog"]])
    assert value == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("so 3 + 4 = 7\n#### 7", r"#### (.+)", "7"),
        ("#### 1\nno, #### 1,234 ", r"#### (.+)", "1234"),
        ("nothing", r"#### (.+)", None),
        ("12 or 13", r"\d+", "13"),
        (" Yes. ", None, "Yes."),
        ("#### 7", r"answer: (.+)|#### (.+)", "7"),
        ("answer: 8", r"answer: (.+)|#### (.+)", "8"),
        ("none", r"answer: (.+)|none", "none"),
    ],
)
def test_the_answer_is_the_last_match(text, pattern, answer):
    assert answer_of(text, pattern) == answer


def test_exact_matches_take_any_reference():
    assert exact_matches(["a", "b", "c"], [["x", "a"], ["a"], ["c"]], None) == [True, False, True]
    assert exact_matches(["no"], [["no"]], r"\d+") == [False], "no answer is no match"


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install finelab\[text\]"):
        GenerationMetrics(["bleu"])
    assert GenerationMetrics(["exact_match"]).metrics == ["exact_match"]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(UserError, match="answer_pattern"):
        GenerationMetrics(["exact_match"], answer_pattern="(")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rows": -1}, "rows is -1"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"samples": -1}, "samples -1"),
        ({"metrics": ["bleu", "rouge"]}, r"\['rouge'\] are none of bleu, chrf, rouge_l, exact_match, normal"),
    ],
)
def test_impossible_arguments_are_refused_where_they_are_given(wrong, said):
    with pytest.raises(UserError, match=said):
        GenerationMetrics(**wrong)


class Counted(GenerationMetrics):
    """Remembers how many questions were answered each time."""

    def __init__(self, **options):
        super().__init__(["chrf"], max_new_tokens=6, **options)
        self.asked = []

    def _answers(self, module, questions, size):
        self.asked.append(len(questions))
        return super()._answers(module, questions, size)


def prompted(source, count, offset):
    """A loader of one set: rows with a prompt of its own and an answer."""
    texts = [f"{source} asks {i}: it is {i}".encode() for i in range(count)]
    ids = torch.tensor([list(text) for text in texts])
    labels = ids.clone()
    labels[:, :8] = IGNORE
    rows = torch.arange(count)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    batch |= {"sample_id": rows + offset, "source_id": torch.full_like(rows, offset // 10)}
    return torch.utils.data.DataLoader([batch], batch_size=None)


class TwoSets(L.LightningDataModule):
    """Sources a and b, and rows of each in a set; c is trained on by nobody."""

    sets = (("a", 0, True), ("b", 10, True), ("c", 20, False))

    def __init__(self, names="abc"):
        super().__init__()
        self.names = names

    def train_dataloader(self):
        return prompted("a", 4, 0)

    def val_dataloader(self):
        return [each.loader for each in self.evaluation_sets("validation")]

    def evaluation_sets(self, split):
        return [EvaluationSet(n, prompted(n, 5, at), pooled) for n, at, pooled in self.sets if n in self.names]


def test_the_pool_takes_from_every_source_and_answers_each_set_once(fit, language_model):
    metrics, module = Counted(rows=4), language_model(rate=1e-3)
    trainer = fit(module, TwoSets(), [metrics], max_epochs=1)
    assert metrics.asked == [4, 4, 4], "each set once, and the pool out of these"
    found = evaluate_split(module, "validation", trainer)
    assert metrics.asked == [4] * 6
    rows = found["validation"].examples
    texts = dict(zip(rows["sample_id"], rows["generated"], strict=True))
    assert [sample for sample, text in texts.items() if text is not None] == [0, 1, 2, 3, 10, 11, 12, 13]
    pooled = [0, 10, 1, 11]
    answers = [module.decoded(f": it is {i % 10}".encode()) for i in pooled]
    score = sacrebleu.corpus_chrf([texts[i] for i in pooled], [answers]).score
    apart = {name: found[f"validation/{name}"].metrics["chrf"] for name in "abc"}
    assert found["validation"].metrics["chrf"] == pytest.approx(score)
    assert trainer.logged_metrics["val/chrf"].item() == pytest.approx(score, rel=1e-5)
    assert {name: trainer.logged_metrics[f"val/{name}/chrf"].item() for name in apart} == pytest.approx(apart, rel=1e-5)


def test_one_pooled_set_is_the_pool(fit, language_model):
    metrics = Counted(rows=3)
    trainer = fit(language_model(), TwoSets("ac"), [metrics], max_epochs=1)
    assert metrics.asked == [3, 3]
    assert trainer.logged_metrics["val/chrf"] == trainer.logged_metrics["val/a/chrf"]


def test_a_row_without_a_prompt_is_found_after_the_ranks_have_met(fit, language_model, monkeypatch):
    """The other rank's only row has no prompt: this rank refuses it too instead of waiting."""
    alien = AskedRow(7, 0, (1,), (2, 3))
    monkeypatch.setattr(generation_metrics, "gathered", lambda mine: [mine, [alien] if isinstance(mine, list) else 1])
    with pytest.raises(UserError, match="sample 7 has no prompt"):
        fit(language_model(), TwoSets("a"), [Counted()], max_epochs=1)
