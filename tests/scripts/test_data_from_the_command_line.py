"""What a user may write for data.source, and what a finished run still needs of its data."""

import csv
import gzip
import io
import json
import random

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from finelab.scripts.cli import main

FIT = ("--model.base", "tiny://bert", "--trainer.max_steps", "1", "--run.name", "one")


def made_up(count):
    return [{"text": f"{'good' if i % 2 else 'bad'} {i}", "label": ["neg", "pos"][i % 2]} for i in range(count)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def file(here):
    """Writes 40 rows in the format that a name ends in."""

    def write(name):
        path = here / name
        if name.endswith(".csv"):
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, ["text", "label"])
                writer.writeheader()
                writer.writerows(made_up(40))
        elif name.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made_up(40)), path)
        elif name.endswith(".gz"):
            path.write_bytes(gzip.compress(lines(made_up(40)).encode()))
        else:
            path.write_text(lines(made_up(40)))
        return name

    return write


@pytest.mark.parametrize("name", ["my.csv", "my.jsonl.gz", "my.parquet", "my.jsonl"])
def test_a_file_is_named_on_the_command_line(config, file, here, name):
    assert main(["fit", "-c", str(config()), "--data.source", file(name), *FIT]) == 0
    assert yaml.safe_load((here / "runs/one/config.yaml").read_text())["data"]["init_args"]["source"] == name


def test_a_file_is_named_in_yaml(config, file, texts, here):
    small = config(f"source: {texts}", f"source: {file('my.csv')}")
    assert main(["fit", "-c", str(small), *FIT]) == 0
    report = json.loads((here / "runs/one/data_report.json").read_text())
    assert report["name"] == "my.csv" and report["splits"]["train"]["rows"] == 32


def printed_source(capsys, *argv):
    assert main(["fit", *map(str, argv), "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["source"]


def test_one_row_a_mapping_a_folder_and_an_id_stay_what_they_are(config, here, capsys):
    (here / "one.jsonl").write_text(lines(made_up(1)))
    small = config()
    for source in ("one.jsonl", "./one.jsonl", "owner/name@abc", "folder/"):
        assert printed_source(capsys, "-c", small, "--data.source", source) == source
    mapping = {"train": "one.jsonl", "test": "other.csv"}
    assert printed_source(capsys, "-c", small, "--data.source", json.dumps(mapping)) == mapping


def test_a_users_own_source_is_a_class_path(config, outside, texts, capsys):
    own = f"source: {{class_path: {outside}.Numbers, init_args: {{rows: 9}}}}"
    small = config(f"source: {texts}", own)
    expected = {"class_path": f"{outside}.Numbers", "init_args": {"rows": 9}}
    assert printed_source(capsys, "-c", small, "--trust-module", outside) == expected


def test_a_path_object_is_a_file(here, file):
    from finelab.data.sources import as_source

    assert as_source(here / file("my.csv")).name == str(here / "my.csv")


@pytest.fixture
def trained(config, here, texts):
    """A finished run on a folder that the test may change: its classes are neg and pos, in this order."""
    own = here / "own"
    own.mkdir()
    for split in ("train", "validation", "test"):
        (own / f"{split}.jsonl").write_bytes((texts / f"{split}.jsonl").read_bytes())
    small = config(f"source: {texts}", f"source: {own}")
    assert main(["fit", "-c", str(small), "--run.name", "one"]) == 0
    return own


def metrics(capsys, *argv):
    capsys.readouterr()
    assert main(["test", "--run", "runs/one", *argv]) == 0
    return json.loads(open("runs/one/test.json").read())["metrics"]


def test_predict_needs_no_training_data(trained, here, capsys):
    (here / "in.jsonl").write_text(lines([{"text": "good nice"}, {"text": "bad ugly"}]))
    predict = ["predict", "--run", "runs/one", "--input", "in.jsonl", "--output"]
    assert main([*predict, "before.jsonl"]) == 0
    for split in ("train", "validation", "test"):
        (trained / f"{split}.jsonl").unlink()
    assert main([*predict, "after.jsonl"]) == 0
    assert (here / "after.jsonl").read_text() == (here / "before.jsonl").read_text()


def test_a_classifier_reads_standard_input_once(trained, here, monkeypatch):
    (here / "in.jsonl").write_text(lines([{"text": "good nice"}, {"text": "bad ugly"}]))
    predict = ["predict", "--run", "runs/one", "--input"]
    assert main([*predict, "in.jsonl", "--output", "file.jsonl"]) == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((here / "in.jsonl").read_bytes())))
    assert main([*predict, "-", "--output", "piped.jsonl"]) == 0
    assert (here / "piped.jsonl").read_text() == (here / "file.jsonl").read_text()


def test_labels_of_a_checkpoint_come_back_whatever_they_are(config, here):
    names = ["\N{GRINNING FACE}", "no", "1e3", "a, b]\x7f", 'q"']
    rows = [{"text": f"say {i}", "label": names[i % len(names)]} for i in range(40)]
    (here / "odd.jsonl").write_text(lines(rows))
    assert main(["fit", "-c", str(config()), "--data.source", "odd.jsonl", *FIT]) == 0
    assert main(["predict", "--run", "runs/one", "--input", "odd.jsonl", "--output", "out.jsonl"]) == 0
    assert {json.loads(line)["label"] for line in (here / "out.jsonl").open()} <= set(names)


def test_test_needs_no_training_split_and_finds_classes_by_name(trained, capsys):
    expected = metrics(capsys)
    rows = (trained / "test.jsonl").read_text().splitlines(keepends=True)
    names = 'data.template.init_args.names=["pos", "neg"]'
    assert metrics(capsys, f"--{names}") == pytest.approx(expected, nan_ok=True), "another order in the template"
    (trained / "train.jsonl").unlink()
    assert metrics(capsys) == pytest.approx(expected, nan_ok=True)
    random.Random(0).shuffle(rows)
    (trained / "test.jsonl").write_text("".join(sorted(rows, key=lambda row: "neg" in row)))
    assert metrics(capsys) == pytest.approx(expected, nan_ok=True), "another order in the file"


def test_a_test_file_may_have_some_of_the_classes_only(trained, capsys):
    rows = [json.loads(line) for line in (trained / "test.jsonl").open()]
    both = metrics(capsys)["test/nll"]
    halves = []
    for name in ("neg", "pos"):
        (trained / "test.jsonl").write_text(lines(row for row in rows if row["label"] == name))
        halves.append(metrics(capsys)["test/nll"])
    assert sum(halves) / 2 == pytest.approx(both, rel=1e-5), "four rows each"


def test_a_class_that_the_checkpoint_does_not_know_is_refused(trained, refused):
    with (trained / "test.jsonl").open("a") as stream:
        stream.write(lines([{"text": "so so", "label": "neutral"}]))
    paragraph = refused("test", "--run", "runs/one")
    assert "test.jsonl:9: unknown label 'neutral'" in paragraph
    assert "neg, pos" in paragraph and "neg, neutral, pos" in paragraph


def test_the_models_revision_reaches_the_tokenizer(config, monkeypatch):
    from finelab.data import text_data_module

    seen = []

    def stop(base, revision=None):
        seen.append((base, revision))
        raise KeyboardInterrupt

    monkeypatch.setattr(text_data_module, "load_tokenizer", stop)
    for more in ((), ("--model.loading.dtype", "bfloat16"), ("--model.loading.revision", "abc")):
        assert main(["fit", "-c", str(config()), *more]) == 130
    assert seen == [("tiny://bert", None), ("tiny://bert", None), ("tiny://bert", "abc")]


def test_a_context_beyond_the_base_is_refused(config, refused):
    paragraph = refused("fit", "-c", config(), "--data.context", "300")
    assert "context is 300" in paragraph and "256" in paragraph


def test_documents_with_equal_ids_stay_apart(texts, here, capsys):
    rows = [{"text": text, "id": "same"} for text in ("x" * 100, "y" * 100, "z")]
    (here / "in.jsonl").write_text(lines(rows))
    argv = ["predict", "--model", "finelab.models.CausalLM", "--model.base", "tiny://llama"]
    argv += ["--model.adapter", "finelab.models.adapters.Full", "--model.optimizer", "torch.optim.SGD"]
    argv += ["--model.optimizer.lr", "0.1", "--data", "finelab.data.TextDataModule", "--data.context", "64"]
    argv += ["--data.source", str(texts), "--data.template", "finelab.data.Documents"]
    argv += ["--data.cache_dir", str(texts / "cache"), "--input", "in.jsonl", "--output", "-"]
    capsys.readouterr()
    assert main(argv) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["tokens"]) for row in found] == [("same", 100), ("same", 100), ("same", 1)]
