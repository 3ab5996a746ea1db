import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerState

from finelab.contracts.data import EvaluationSets, EvaluationSource, MixedSources, ProbeSource, TrainedLabels
from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, MixtureDataModule, TextDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.data.mixture_specs import SourceSpec, same_rows
from finelab.data.sources import FileSource
from finelab.data.splits import Fractions

NONE = Fractions(validation=0, test=0)


@pytest.fixture
def files(write, rows):
    """Two sources of 40 and 12 training rows, the second one numbered the other way round, and a set to test on."""
    swapped = [row | {"label": 1 - row["label"]} for row in rows(24, 200)]
    return {
        "a": {name: str(write(f"a/{name}.jsonl", rows(n, at))) for name, n, at in (("train", 40, 0), ("val", 10, 50))},
        "b": {
            "train": str(write("b/train.jsonl", swapped[:12])),
            "val": str(write("b/val.jsonl", swapped[12:18])),
            "test": str(write("b/test.jsonl", swapped[18:])),
        },
        "c": {"test": str(write("c/test.jsonl", rows(9, 300)))},
    }


@pytest.fixture
def mixture(files, tokens):
    def make(sources=("a", "b"), sets=("c",), weights=None, **changes):
        weights = weights or {}
        settings = {
            "sources": sources
            if isinstance(sources, dict)
            else {name: SourceSpec(files[name], weight=weights.get(name)) for name in sources},
            "eval_sets": {name: SourceSpec(files[name]) for name in sets},
            "base": "tiny://bert",
            "template": Classification(),
            "cache_dir": tokens,
            "context": 32,
            "batch_size": 4,
            "loader": LoaderOptions(bucketing=False),
            "splits": NONE,
        }
        return MixtureDataModule(**settings | changes)

    return make


@pytest.fixture
def alone(files, tokens):
    def make(name, **changes):
        settings = {"template": Classification(), "base": "tiny://bert", "cache_dir": tokens, "splits": NONE}
        return TextDataModule(files[name], **settings | {"context": 32, "batch_size": 4} | changes)

    return make


def on_rank(data, rank, world_size):
    data.trainer = SimpleNamespace(state=TrainerState(), global_rank=rank, world_size=world_size)
    return data


def ids_of(loader):
    return [batch["sample_id"].tolist() for batch in loader]


def test_it_keeps_the_contracts(mixture):
    data = mixture()
    for protocol in (EvaluationSets, EvaluationSource, MixedSources, ProbeSource, TrainedLabels):
        assert isinstance(data, protocol)
    assert data.source_names == ["a", "b", "c"] and data.training_names == ["a", "b"]


def test_rows_are_those_of_the_sources_with_ids_of_their_own(mixture, alone):
    data, found = mixture(), {}
    for batch in data.train_dataloader():
        for i, source, ids, mask in zip(
            batch["sample_id"], batch["source_id"], batch["input_ids"], batch["attention_mask"], strict=True
        ):
            assert int(i) not in found
            found[int(i)] = (int(source), ids[: mask.sum()].tolist())
    assert sorted(found) == list(range(52))
    expected = [
        (source, own.samples("train")[i]["input_ids"].tolist())
        for source, own in ((0, alone("a")), (1, alone("b")))
        for i in range(len(own.samples("train")))
    ]
    assert [found[i] for i in range(52)] == expected


def test_probed_rows_are_training_rows_of_the_sources_as_validation_has_them(mixture):
    data = on_rank(mixture(), 0, 1)
    assert isinstance(data, ProbeSource)
    samples = np.concatenate(ids_of(data.probe_loader(16)))
    assert len(set(samples.tolist())) == 16
    assert [(samples < 40).sum(), (samples >= 40).sum()] == [10, 6]  # 10 and 6 rows of validation
    assert ids_of(data.probe_loader(16)) == ids_of(on_rank(mixture(), 0, 1).probe_loader(16))
    shared = [np.concatenate(ids_of(on_rank(mixture(), rank, 2).probe_loader(16))) for rank in (0, 1)]
    assert sorted(np.concatenate(shared).tolist()) == sorted(samples.tolist())
    validation = np.arange(16)
    assert data.document_of("validation", validation).tolist() == validation.tolist()


def test_labels_are_matched_by_name(mixture, files):
    """b numbers its classes the other way round; what counts is the name."""
    data = mixture()
    assert data.label_names == ["no", "yes"]
    names = {}
    for split in ("train", "validation", "test"):
        for each in data.evaluation_sets(split):
            for batch in each.loader:
                names |= {
                    (split, int(i)): data.label_names[k]
                    for i, k in zip(batch["sample_id"], batch["labels"], strict=True)
                }
    for split, parts in (("train", ("a", "b")), ("validation", ("a", "b")), ("test", ("b", "c"))):
        rows = [
            json.loads(line)
            for part in parts
            for line in Path(files[part].get(split) or files[part]["val"]).read_text().splitlines()
        ]
        assert [names[split, i] for i in range(len(rows))] == [row["label_text"] for row in rows]
    assert mixture(sources=("b", "a")).label_names == ["yes", "no"]


def test_other_names_in_a_source_are_refused_with_both_lists(mixture, files, write, rows):
    files["b"] = {"train": str(write("other.jsonl", [row | {"label_text": "maybe"} for row in rows(3)] + rows(20, 5)))}
    message = r"a has the labels \[no, yes\], and b has the labels \[maybe, no, yes\]"
    with pytest.raises(UserError, match="stands beside"):
        _ = mixture().label_names
    for row in (others := rows(20, 5)):
        row["label"] = row["label_text"]
    write("other.jsonl", [*others, {"text": "new", "label": "maybe"}])
    with pytest.raises(UserError, match=message):
        _ = mixture().label_names


def test_an_evaluation_set_may_have_fewer_names_and_no_others(mixture, files, write, rows):
    files["c"] = {"test": str(write("c.jsonl", rows(9)[1::2]))}
    [found] = [each for each in mixture().evaluation_sets("test") if each.name == "c"]
    assert {k for batch in found.loader for k in batch["labels"].tolist()} == {1}
    write("c.jsonl", [{"text": "new", "label": 0, "label_text": "perhaps"}])
    message = r"rows of c have the labels \[perhaps\], and the model is trained for the labels \[no, yes\]"
    for policy in ("error", "skip"):
        with pytest.raises(UserError, match=message):
            mixture(on_bad_row=policy).setup("fit")


def test_a_checkpoint_s_classes_need_no_training_rows(mixture, files, write):
    data = mixture()
    data.use_labels(["yes", "never", "no"])
    for name in ("a", "b"):
        write(f"{name}/train.jsonl", ["no row"])
    assert data.label_names == ["yes", "never", "no"]
    data.setup("test")
    labels = {
        each.name: [k for b in each.loader for k in b["labels"].tolist()] for each in data.evaluation_sets("test")
    }
    assert set(labels["b"]) | set(labels["c"]) == {0, 2}
    assert data.evaluation_loader("train") is None
    other = mixture()
    other.use_labels(["yes", "never"])
    with pytest.raises(UserError, match=r"\[no, yes\], and the model is trained for the labels \[never, yes\]"):
        other.test_dataloader()


def test_sets_by_split_and_which_are_pooled(mixture, alone):
    data = mixture()
    found = {
        split: [(each.name, each.pooled) for each in data.evaluation_sets(split)]
        for split in ("train", "validation", "test")
    }
    assert found["train"] == [("a", True), ("b", True)]
    assert found["validation"] == [("a", True), ("b", True)]
    assert found["test"] == [("b", True), ("c", False)]
    assert len(data.val_dataloader()) == 2 and len(data.test_dataloader()) == 2
    assert sorted(i for ids in ids_of(data.evaluation_loader("validation")) for i in ids) == list(range(16))
    with pytest.raises(UserError, match="None of a has a test split"):
        mixture(sources=("a",), sets=()).test_dataloader()


@pytest.mark.parametrize("weights", [None, {"a": 1, "b": 3}])
@pytest.mark.parametrize("bucketing", [True, False])
def test_global_steps_do_not_depend_on_ranks_or_workers(mixture, weights, bucketing):
    def make(**options):
        return {"weights": weights, "loader": LoaderOptions(bucketing=bucketing, **options)}

    reference = mixture(**make())
    expected = [sorted(ids) for ids in ids_of(reference.train_dataloader())]
    torch.manual_seed(7)
    np.random.seed(7)
    parts = [
        ids_of(on_rank(mixture(batch_size=2, **make(num_workers=2)), rank, 2).train_dataloader()) for rank in range(2)
    ]
    assert [sorted([*a, *b]) for a, b in zip(*parts, strict=True)] == expected
    assert len(expected) == 13
    assert [sorted(ids) for ids in ids_of(mixture(seed=2, **make()).train_dataloader())] != expected


def test_weights_and_temperatures_decide_the_quotas(mixture):
    assert mixture().counts == {"a": 40, "b": 12}
    assert mixture(weights={"a": 1, "b": 3}).counts == {"a": 13, "b": 39}
    assert mixture(temperature=float("inf")).counts == {"a": 26, "b": 26}
    data = mixture(weights={"a": 1, "b": 3})
    sources = [i for batch in data.train_dataloader() for i in batch["source_id"].tolist()]
    given = np.cumsum(np.array(sources) == 1)
    assert np.abs(given - np.arange(1, 53) * 39 / 52).max() < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"a": 1}}, "a have a weight and b have none"),
        ({"weights": {"a": 1, "b": 2}, "temperature": 2.0}, "remove one of the two"),
        ({"weights": {"a": 1, "b": 0}}, "the weight of b is 0"),
        ({"weights": {"a": 1, "b": float("nan")}}, "the weight of b is nan"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"sources": ()}, "data.sources is empty"),
        ({"sets": ("c",), "template": None}, "has no template"),
    ],
)
def test_shares_and_names_said_wrongly(mixture, changes, message):
    with pytest.raises(UserError, match=message):
        mixture(**changes)


def test_a_name_that_no_metric_can_hold_and_a_weight_beside_no_training(mixture, files):
    with pytest.raises(UserError, match="'a/b' cannot be part"):
        mixture(eval_sets={"a/b": SourceSpec(files["c"])})
    with pytest.raises(UserError, match="c has a weight"):
        mixture(eval_sets={"c": SourceSpec(files["c"], weight=2)})


def test_an_evaluation_set_of_the_name_and_rows_of_a_source_is_that_source(mixture, files):
    every = {name: SourceSpec(files[name]) for name in ("a", "b", "c")}
    scores = {}
    for name in ("a", "b"):
        data = mixture(sources=(name,), eval_sets=every)
        assert data.source_names == [name, *(each for each in every if each != name)]
        assert [own.name for own in data.evaluation_sets("validation") if own.pooled] == [name]
        tested = {own.name: own.loader for own in data.evaluation_sets("test")}
        assert tested.keys() == {"b", "c"}, "a has no test split"
        scores[name] = [tuple(ids) for batch in tested["b"] for ids in batch["input_ids"].tolist()]
    assert scores["a"] == scores["b"], "one column of a transfer matrix has the same rows in every arm"
    with pytest.raises(UserError, match=r"'a' is the name of a source too, of other rows \(.*train.jsonl.* is trained"):
        mixture(eval_sets={"a": SourceSpec(files["c"])})


def test_sources_that_are_objects_are_compared_by_their_rows(tmp_path):
    other = tmp_path / "other.jsonl"
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a", "label": 0}\n')
    other.write_text('{"text": "b", "label": 0}\n')
    first, again, third = (SourceSpec(FileSource({"train": file})) for file in (rows, rows, other))
    assert same_rows(first, again) and not same_rows(first, third)


def test_a_source_without_training_rows_is_told_how_to_have_some(mixture):
    with pytest.raises(UserError, match=r"c \(.*test.jsonl\) has no training rows; name its file as \{train: FILE\}"):
        mixture(sources=("a", "c"), sets=(), template=Documents(), base="tiny://llama").train_dataloader()


def test_an_error_in_a_part_says_which(mixture, files, write):
    write("b/val.jsonl", [{"txt": "a", "label": 0}])
    with pytest.raises(UserError, match=r"in b: .*val.jsonl:1: no column 'text'"):
        mixture().setup("fit")


def test_tokens_are_those_of_a_run_on_the_source_alone(mixture, alone):
    assert alone("a").report["cache"] == "tokens built"
    report = mixture().report
    assert report["parts"]["a"]["cache"] == "tokens cached"
    assert alone("b").report["cache"] == "tokens built", "b numbers its classes in another way"
    again = mixture().report
    assert {part["cache"] for part in again["parts"].values()} == {"tokens cached"}
    assert again["proportions"]["b"] == {"rows": 12, "rows_an_epoch": 12, "share": 12 / 52, "passes": 1.0}
    json.dumps(again)


def test_the_fingerprint_knows_rows_and_proportions(mixture):
    made = [mixture(), mixture(temperature=2.0), mixture(sources=("a",)), mixture(sets=())]
    assert len({data.fingerprint for data in made}) == 4
    assert mixture().fingerprint == mixture(batch_size=2).fingerprint


def test_predict_reads_its_input_and_no_source(mixture, write, files):
    data = mixture()
    data.use_labels(["no", "yes"])
    for name in ("a", "b"):
        write(f"{name}/val.jsonl", ["no row"])
    data.predict_input = str(write("in.jsonl", [{"text": "x", "id": "one"}, {"text": "y"}]))
    data.setup("predict")
    assert [ids for batch in ids_of(data.predict_dataloader()) for ids in batch] == [0, 1]
    assert data.predict_ids == ["one", 2] and data.predict_rows == [0, 1]


def test_replay_of_text_with_a_template_of_its_own(mixture, files, write):
    """Rows with and without counts of characters stand in one batch; targets of two kinds do not."""
    files["a"], files["b"] = (
        {"train": str(write(f"{name}.jsonl", [{"text": f"{name} story {i}"} for i in range(20)]))} for name in "ab"
    )
    sources = {
        "a": SourceSpec(files["a"], template=Documents()),
        "b": SourceSpec(files["b"], template=Documents(append_eos=True)),
    }
    data = mixture(sources=sources, sets=(), base="tiny://llama", template=None)
    batches = list(data.train_dataloader())
    assert data.label_names is None
    assert all("chars" in batch and batch["labels"].shape == batch["input_ids"].shape for batch in batches)
    files["b"] = {"train": str(write("c.jsonl", [{"text": f"{i}", "label": i % 2} for i in range(20)]))}
    sources = {"a": sources["a"], "b": SourceSpec(files["b"], template=Classification())}
    with pytest.raises(UserError, match=r"a has the template Documents, and b has Classification, whose"):
        mixture(sources=sources, sets=(), base="tiny://llama").train_dataloader()


def test_no_loader_touches_a_global_generator(mixture):
    data = mixture()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for loader in [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]:
        assert len(list(loader)) == len(loader) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_the_report_shows_proportions_and_every_part(mixture):
    text = mixture(weights={"a": 1, "b": 3}).render_report()
    assert "75.0%" in text and "3.25" in text
    assert all(f"\n{name}: Data  " in text for name in "abc")


def test_texts_that_are_trained_on_in_one_part_and_held_out_in_another_are_counted(mixture, files, write, rows):
    shown = [*rows(3, 0), *rows(2, 400)]  # the first three stand in train of a
    files["leaked"] = {"test": str(write("leaked/test.jsonl", shown))}
    data = mixture(sets=("leaked",))
    assert data.report["repeated_across"] == {"test of leaked in train of a": 3}
    assert "test of leaked in train of a 3" in data.render_report()
    assert "repeats across sources (equal texts)  none" in mixture().render_report()
