"""fit, validate, test and predict on a tiny model, from the command line's point of view."""

import csv
import errno
import io
import json
import math
import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from finelab.contracts import files
from finelab.contracts.errors import UserError
from finelab.contracts.record import RECORD_FILE, read_record
from finelab.contracts.run_config import one_line
from finelab.contracts.seeds import Seeds
from finelab.scripts import lightning_cli, run_directory
from finelab.scripts.cli import main
from finelab.scripts.lightning_cli import FinelabCLI
from finelab.scripts.links import all_seeds

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def built(monkeypatch, outside):
    """Runs the command up to its trainer, and returns what was built."""
    kept = []

    def stop(self, subcommand):
        kept.append(self)
        self.fit_run.remove()

    monkeypatch.setattr(FinelabCLI, "_run_subcommand", stop)

    def run(*argv) -> FinelabCLI:
        assert main([*map(str, argv), "--trust-module", outside]) == 0
        return kept[-1]

    return run


def test_seeds_are_normalised_in_one_place():
    assert all_seeds(3) == {"data": 3, "init": 3, "train": 3}
    assert all_seeds({"data": 1, "init": 2, "train": 3}) == {"data": 1, "init": 2, "train": 3}
    for wrong in ({"data": 1}, {"data": 1, "init": 2, "train": 3, "more": 4}):
        with pytest.raises(ValueError, match="all three"):
            all_seeds(wrong)


def test_links(config, built):
    cli = built("fit", "-c", config("seeds: 5", "seeds: {data: 1, init: 2, train: 3}"), "--seeds.train", "7")
    assert cli.model.seeds == Seeds(1, 2, 7)
    assert (cli.datamodule.seed, cli.datamodule.base) == (1, "tiny://bert")
    assert cli.model.labels == cli.datamodule.label_names == ["neg", "pos"]
    assert cli.trainer._accelerator_connector.use_distributed_sampler is False


def test_a_base_from_the_command_line_reaches_the_data(config, built):
    cli = built("fit", "-c", config(), "--model.base", "tiny://llama")
    assert cli.model.base == cli.datamodule.base == "tiny://llama"


def test_links_skip_classes_without_the_target(config, built, outside):
    small = config("class_path: finelab.models.SequenceClassifier", "class_path: finelab.models.CausalLM")
    cli = built("fit", "-c", small, "--data", f"{outside}.Unlinked", "--data.size", "4")
    assert type(cli.model).__name__ == "CausalLM" and cli.datamodule.size == 4
    assert cli.model.seeds == Seeds(5, 5, 5)


def test_a_classifier_without_labels_is_explained(config, refused, outside):
    paragraph = refused("fit", "-c", config(), "--data", f"{outside}.Unlinked", "--trust-module", outside)
    assert "label names" in paragraph and "label_names" in paragraph
    assert "Namespace(" not in paragraph


def test_a_list_is_appended_to(config, built, outside):
    added = f"--model.regularizers+={outside}.Nothing"
    cli = built("fit", "-c", config(), added, "--model.regularizers.weight=0.5")
    assert [type(r).__name__ for r in cli.model.own_regularizers] == ["L2SP", "Nothing"]
    assert cli.model.own_regularizers[1].weight == 0.5


def test_files_are_merged_over_the_shipped_defaults(config, built, here):
    (here / "over.yaml").write_text("trainer: {max_epochs: 9}\n")
    cli = built("fit", "-c", config(), "-c", "over.yaml", "--trainer.log_every_n_steps=2")
    assert cli.trainer.max_epochs == 9 and cli.trainer.log_every_n_steps == 2
    assert cli.trainer.gradient_clip_val == 1.0, "from defaults.yaml"


def test_a_users_callbacks_lose_none_of_ours(config, built, outside):
    plain = built("fit", "-c", config())
    own = built("fit", "-c", config("max_epochs: 1", f"callbacks: [{{class_path: {outside}.Steps}}]"))
    names = [[type(callback).__name__ for callback in cli.trainer.callbacks] for cli in (plain, own)]
    run = plain.fit_run.start(plain.resolved_config())
    ours = {type(callback).__name__ for callback in lightning_cli.standard_callbacks(run)}
    plain.fit_run.remove()
    assert ours >= {"BestCheckpoint", "RunRecord", "Card", "Baseline", "Throughput"}
    for present in names:
        assert ours <= set(present) | {"PlainProgress", "TerminalProgress"}
    assert "Steps" in names[1] and "EarlyStopping" not in names[1], "a user's list replaces the default one"
    assert not {"ModelCheckpoint", "SaveConfigCallback"} & set(names[0])


def test_a_stopping_criterion_is_named_by_its_class(config, built):
    criterion = "criterion: {class_path: finelab.callbacks.stopping.GL, init_args: {alpha: 5}}, min_delta: auto"
    stop = f"callbacks: [{{class_path: finelab.callbacks.EarlyStopping, init_args: {{monitor: val/nll, {criterion}}}}}]"
    for arguments, alpha in ([], 5.0), (["--trainer.callbacks.criterion.alpha=1.5"], 1.5):
        (stopping,) = built("fit", "-c", config("max_epochs: 1", stop), *arguments).trainer.early_stopping_callbacks
        assert (type(stopping.criterion).__name__, stopping.criterion.alpha) == ("GL", alpha)
    (stopping,) = built("fit", "-c", config()).trainer.early_stopping_callbacks
    assert (type(stopping.criterion).__name__, stopping.criterion.patience) == ("Patience", 3), "from defaults.yaml"


def test_print_config_from_another_folder(here, tmp_path):
    text = (
        "model: {class_path: finelab.models.CausalLM, init_args: {base: tiny://llama, adapter: {class_path: "
        "finelab.models.adapters.Full}, optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}}}\n"
        "data: {class_path: finelab.data.TextDataModule, init_args: {source: x.jsonl, template: {class_path: "
        "finelab.data.Documents}}}\n"
    )
    (here / "lm.yaml").write_text(text)
    script = (
        "import sys\nfrom finelab.scripts.cli import main\ncode = main(['fit', '-c', 'lm.yaml', '--print_config'])\n"
        "assert not {'models', 'data', 'callbacks', 'scripts', 'configs', 'contracts'} & sys.modules.keys()\n"
        "sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=here)
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(result.stdout)["trainer"]["num_sanity_val_steps"] == 0
    assert sorted(path.name for path in here.iterdir()) == ["lm.yaml"]


def test_a_shipped_file_is_found_in_the_package():
    from finelab.scripts.invocation import config_path

    assert config_path("pkg://finelab.configs/defaults.yaml").samefile(ROOT / "configs" / "defaults.yaml")
    assert "finelab" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_a_run_from_fit_to_predict(config, here, capsys):
    small = config()
    assert main(["fit", "-c", str(small), "--run.name", "one"]) == 0
    run = here / "runs" / "one"
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "checkpoints", RECORD_FILE, "predictions"}
    assert list(run.glob("events.out.tfevents.*")) and not (here / "lightning_logs").exists()
    assert not (run / "hparams.yaml").exists() and "FINELAB_RUN_DIRECTORY" not in os.environ

    resolved = yaml.safe_load((run / "config.yaml").read_text())
    assert resolved["seeds"] == {"data": 5, "init": 5, "train": 5} and resolved["run"]["name"] == "one"
    assert not {"seeds", "labels"} & resolved["model"]["init_args"].keys()
    assert not {"seed", "base"} & resolved["data"]["init_args"].keys()

    kept = (run / "config.yaml").read_bytes()
    capsys.readouterr()
    assert main(["fit", "-c", str(run / "config.yaml")]) == 2
    assert "runs/one exists already" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == kept

    assert main(["validate", "--run", "runs/one"]) == 0
    assert "val/accuracy" in capsys.readouterr().out
    assert main(["test", "--run", "runs/one"]) == 0
    assert f"written to {Path('runs/one/test.json')}" in capsys.readouterr().out
    assert 0 <= json.loads((run / "test.json").read_text())["metrics"]["test/accuracy"] <= 1
    assert [path.name for path in (here / "runs").iterdir()] == ["one"], "only fit makes runs"

    (here / "in.csv").write_text('id,text\nb,"good, nice"\na,bad ugly\n')
    assert main(["predict", "--run", "runs/one", "--input", "in.csv", "--output", "out.csv"]) == 0
    with open(here / "out.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["b", "a"]
    assert all(row["label"] in ("neg", "pos") and 0.5 <= float(row["probability"]) <= 1 for row in rows)
    capsys.readouterr()
    assert main(["predict", "--run", "runs/one", "--input", "in.csv", "--output", "-", "--data.batch_size", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, row in zip(lines, rows, strict=True):
        assert line["label"] == row["label"]
        assert line["probability"] == pytest.approx(float(row["probability"]), abs=1e-6)


def test_the_resolved_config_trains_the_same(config, here):
    assert main(["fit", "-c", str(config()), "--run.name", "one"]) == 0
    assert main(["fit", "-c", "runs/one/config.yaml", "--run.name", "two"]) == 0
    one, two = (yaml.safe_load((here / "runs" / name / "config.yaml").read_text()) for name in ("one", "two"))
    assert one.pop("run") != two.pop("run") and one == two
    weights = [(here / "runs" / name / "checkpoints/best/head.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_a_language_models_predictions_are_per_document(here, capsys, texts):
    long = "x" * 300
    (here / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in (long, "short one")))
    argv = ["predict", "--model", "finelab.models.CausalLM", "--model.base", "tiny://llama"]
    argv += ["--model.adapter", "finelab.models.adapters.Full", "--model.optimizer", "torch.optim.SGD"]
    argv += ["--model.optimizer.lr", "0.1", "--data", "finelab.data.TextDataModule", "--data.context", "64"]
    argv += ["--data.source", str(texts), "--data.template", "finelab.data.Documents"]
    argv += ["--data.cache_dir", str(texts / "cache"), "--input", "in.jsonl", "--output", "-"]
    assert main(argv) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == [1, 2]
    assert all(row["nll"] == pytest.approx(math.log(260), rel=0.2) for row in rows), "untrained: about uniform"
    for row, text in zip(rows, (long, "short one"), strict=True):
        assert row["bits_per_char"] == pytest.approx(row["nll"] * row["tokens"] / math.log(2) / len(text))


def test_rows_are_written_as_csv_and_empty_input_too():
    from finelab.scripts.predictions import as_csv

    assert as_csv([]) == "id\n"
    rows = [{"id": 'a"b', "label": "x,y"}]
    assert list(csv.DictReader(io.StringIO(as_csv(rows)))) == [{"id": 'a"b', "label": "x,y"}]
    several = {"labels": ["x", "\N{GREEK SMALL LETTER ALPHA}"], "probabilities": {"x": 0.5}}
    [row] = csv.DictReader(io.StringIO(as_csv([{"id": 1, **several}])))
    assert {name: json.loads(row[name]) for name in several} == several


def test_a_row_left_out_has_the_columns_of_the_others(capsys):
    from finelab.scripts.invocation import read_invocation
    from finelab.scripts.predictions import write_predictions

    class Rows:
        predict_input, predict_ids, predict_rows = "in.jsonl", ["a", "b"], [1]

    write_predictions(
        Rows(), [{"sample_id": [0], "tags": [["O", "B-x"]]}], read_invocation(["predict", "--output", "-"])
    )
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"id": "a", "tags": None},
        {"id": "b", "tags": ["O", "B-x"]},
    ]


def test_windows_are_added_up_and_labels_are_not():
    from finelab.scripts.predictions import whole_examples

    windows = [{"nll": 1.0, "tokens": 2}, {"nll": 3.0, "tokens": 4}, {"nll": 5.0, "tokens": 6}]
    none = {"nll": 0.0, "tokens": 0}
    added = {"nll": 4.0, "tokens": 6}
    assert whole_examples(["a", "b"], [0, 0, 1], windows, none) == [("a", added), ("b", windows[2])]
    apart = [("a", windows[0]), ("a", windows[1]), ("b", none), ("a", windows[2])]
    assert whole_examples(["a", "a", "b", "a"], [0, 1, 3], windows, none) == apart, "rows are told apart by position"
    labelled = [{"label": "x", "probability": 0.5}] * 2
    assert whole_examples(["a", "a"], [0, 1], labelled, none) == [("a", labelled[0]), ("a", labelled[1])]


def test_other_ranks_share_the_first_ones_directory(monkeypatch, tmp_path):
    shared = run_directory.shared_directory
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", run_directory.RUN_DIRECTORY):
        monkeypatch.delenv(name, raising=False)
    assert shared("runs", None) is None
    for name in ("LOCAL_RANK", "SLURM_PROCID"):
        with monkeypatch.context() as rank:
            rank.setenv(name, "0")
            assert shared("runs", "one") is None, "this process makes it"
            rank.setenv(name, "1")
            assert shared("runs", "one") == Path("runs/one")
            with pytest.raises(UserError, match=r"run\.name is missing.*srun"):
                shared("runs", None)
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("RANK", "0")
    assert shared("runs", None) is None, "torchrun's count is of all ranks"
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(run_directory.RUN_DIRECTORY, str(tmp_path))
    assert shared("runs", None) == tmp_path


def test_the_command_is_one_line_that_a_shell_takes():
    command = ("finelab", "fit", "--run.name", "a b", "--x", "1\nseeds: 2\r\u2028\x85", "--é")
    line = one_line(command)
    assert line.splitlines() == [line] and yaml.safe_load(f"# {line}\nseeds: 1") == {"seeds": 1}
    plain = ("finelab", "fit", "--run.name", "a b", "--note", "it's")
    assert tuple(shlex.split(one_line(plain))) == plain


def test_the_monitor_picks_the_weights(config, here):
    assert main(["fit", "-c", str(config("seeds: 5", "seeds: 5\nmonitor: val/nll")), "--run.name", "one"]) == 0
    record = read_record(here / "runs" / "one")
    assert (record.best.monitor, record.best.mode) == ("val/nll", "min")
    assert record.best.value == pytest.approx(min(entry["nll"] for entry in record.history))


def test_a_mistyped_monitor_is_refused(config, refused):
    paragraph = refused("fit", "-c", config(), "--monitor", "val/macrof1")
    assert "'val/macrof1'" in paragraph and "val/macro_f1" in paragraph and "val/nll" in paragraph


@pytest.mark.parametrize("root", ["made before", "not there"])
def test_a_trial_run_keeps_nothing(root, config, here, capsys):
    small = config()
    if root == "made before":
        (here / "runs").mkdir()
    before = sorted(here.iterdir())
    assert main(["fit", "-c", str(small), "--trainer.fast_dev_run", "1"]) == 0
    assert "Nothing was kept" in capsys.readouterr().out
    assert sorted(here.iterdir()) == before
    if root == "made before":
        assert not list((here / "runs").iterdir())


@pytest.mark.parametrize("key", ["max_epochs", "max_steps", "limit_train_batches"])
def test_a_run_without_a_step_is_no_run(key, config, refused):
    paragraph = refused("fit", "-c", config(), f"--trainer.{key}", "0")
    assert "No step was taken" in paragraph and "trainer.max_epochs is" in paragraph


def test_testing_a_run_marks_its_record(config, here, capsys, monkeypatch):
    assert main(["fit", "-c", str(config()), "--run.name", "one"]) == 0
    before = read_record(here / "runs" / "one")
    assert main(["validate", "--run", "runs/one"]) == 0
    assert not before.test_read and read_record(here / "runs" / "one") == before
    assert main(["test", "--run", "runs/one"]) == 0
    assert read_record(here / "runs" / "one") == replace(before, test_read=True)

    # and of a run that cannot be written to they are shown all the same
    before = sorted((here / "runs").rglob("*"))
    capsys.readouterr()

    def refused(path, chunks):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "write_through", refused)
    assert main(["test", "--run", "runs/one"]) == 2
    printed = capsys.readouterr()
    assert "test/accuracy" in printed.out and "written to" not in printed.out
    assert "finelab: runs/one could not be written to (Permission denied), so that" in printed.err
    assert "Traceback" not in printed.err and sorted((here / "runs").rglob("*")) == before
