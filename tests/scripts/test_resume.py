"""fit --resume and --ckpt_path as a user types them: what goes on, what is refused, and how it ends."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from finelab.contracts.record import RECORD_FILE, read_record
from finelab.contracts.run_lock import LOCK_FILE, RunLock
from finelab.contracts.state_folder import MANIFEST, TENSORS, latest_state
from finelab.models.finetuner import FineTuner
from finelab.models.non_finite_error import NonFiniteError
from finelab.models.objective import Objective
from finelab.scripts import fit_run
from finelab.scripts.cli import main

STOPS = [2, 3, 5]


@pytest.fixture(scope="module")
def made(texts, outside, tmp_path_factory):
    """A folder with a configuration, a run of six steps, and the same run stopped after two."""
    folder = tmp_path_factory.mktemp("made")
    content = {
        "seeds": 5,
        "model": {
            "class_path": "finelab.models.SequenceClassifier",
            "init_args": {
                "base": "tiny://bert",
                "adapter": {"class_path": "peft.LoraConfig", "init_args": {"r": 2, "target_modules": "all-linear"}},
                "regularizers": [{"class_path": "finelab.models.regularizers.L2SP", "init_args": {"weight": 0.01}}],
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
            },
        },
        "data": {
            "class_path": "finelab.data.TextDataModule",
            "init_args": {
                "source": str(shutil.copytree(texts, folder / "texts", ignore=shutil.ignore_patterns("cache"))),
                "template": {"class_path": "finelab.data.Classification"},
                "batch_size": 8,
                "cache_dir": str(folder / "cache"),
            },
        },
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "callbacks": [{"class_path": f"{outside}.Kick", "init_args": {"steps": STOPS}}],
        },
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    before = Path.cwd()
    os.chdir(folder)
    try:
        argv = ["fit", "-c", "small.yaml", "--no-check", "--trust-module", outside, "--run.name"]
        assert main([*argv, "whole", "--trainer.callbacks", "null"]) == 0
        assert main([*argv, "cut"]) == 128 + signal.SIGTERM
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def cut(made, here):
    """The stopped run as a copy in another place and under another name."""
    shutil.copytree(made / "runs" / "cut", here / "runs" / "moved")
    return Path("runs/moved")


@pytest.fixture
def finelab(outside):
    return lambda *argv: main([*map(str, argv), "--trust-module", outside])


@pytest.fixture
def untouched(cut, finelab, capsys):
    """Runs a command that must be refused and leave the run as it was; returns the paragraph."""

    def refused(*argv) -> str:
        before = contents(cut)
        assert finelab(*argv) == 2
        assert contents(cut) == before
        paragraph = capsys.readouterr().err
        assert paragraph.startswith("finelab: ") and "Traceback" not in paragraph
        return paragraph

    return refused


def contents(run: Path) -> dict[str, bytes]:
    """All but the lock."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "checkpoints" / "best").glob("*.safetensors")}


def test_stopped_three_times_and_moved_it_ends_as_if_it_had_never_stopped(made, cut, finelab, capsys):
    whole = made / "runs" / "whole"
    for step in STOPS[1:]:
        assert finelab("fit", "--resume", cut, "--no-check") == 143
        assert f"finelab fit --resume {cut} --trust-module outside_package goes on" in capsys.readouterr().err
        assert read_record(cut).status == "interrupted" and read_record(cut).cost.steps == step
    assert finelab("fit", "--resume", cut, "--no-check") == 0
    found, expected = read_record(cut), read_record(whole)
    assert (found.status, found.cost.steps, found.cost.examples) == ("finished", 6, expected.cost.examples)
    assert found.order_digest == expected.order_digest is not None
    assert found.metrics == expected.metrics and found.best == expected.best
    assert weights(cut) == weights(whole)
    assert [entry["step"] for entry in found.resumed] == STOPS
    assert all(entry["command"][:4] == ["finelab", "fit", "--resume", str(cut)] for entry in found.resumed)
    assert "cut" in found.command and found.notes == expected.notes
    head = [line for line in (cut / "config.yaml").read_text().splitlines() if line.startswith("#")]
    assert [line.partition(":")[0] for line in head[1:]] == [f"# resumed at step {step}" for step in STOPS]
    assert [path.name for path in Path("runs").iterdir()] == ["moved"], "no other run is made"


def test_a_changed_configuration_is_refused_with_a_diff(cut, untouched):
    said = untouched(
        "fit", "--resume", cut, "--trainer.max_epochs", 3, "--model.optimizer.lr=0.01", "--run.save_steps=1"
    )
    assert "\n    trainer.max_epochs: 2 -> 3\n    model.init_args.optimizer.init_args.lr: 0.001 -> 0.01\n" in said
    assert "--allow-change trainer.max_epochs --allow-change model.init_args.optimizer.init_args.lr" in said
    assert "save_steps" not in said, "changes no number"
    assert "lr" in untouched("fit", "--resume", cut, "--model.optimizer.lr=0.01", "--allow-change", "trainer", "data")
    said = untouched("fit", "--resume", cut, "--trainer.max_epochs=3", "--allow-change", "trainer.max_epoch")
    assert "--allow-change trainer.max_epoch " in said and "did you mean trainer.max_epochs?" in said
    said = untouched("fit", "--resume", cut, "--model.adapter=finelab.models.adapters.BitFit")
    assert "model.init_args.adapter: peft.LoraConfig -> finelab.models.adapters.BitFit" in said
    assert "trial run" in untouched("fit", "--resume", cut, "--trainer.fast_dev_run", 1)
    assert "goes on in its own directory" in untouched("fit", "--resume", cut, "--run.name", "new")


def test_an_edited_config_file_is_a_changed_configuration(cut, untouched):
    text = (cut / "config.yaml").read_text()
    (cut / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.5"))
    assert "lr: 0.001 -> 0.5" in untouched("fit", "--resume", cut)


def test_an_allowed_change_is_written_down(cut, finelab):
    more = ("--trainer.max_epochs", 3, "--trainer.log_every_n_steps=1", "--trainer.callbacks=null", "--no-check")
    more += ("--model.optimizer.init_args.lr", 0.002)
    allowed = ("trainer.max_epochs", "trainer.callbacks", "model.optimizer.init_args.lr")
    assert finelab("fit", "--resume", cut, *more, "--allow-change", *allowed) == 0
    record = read_record(cut)
    assert (record.status, record.cost.steps) == ("finished", 9)
    assert "Changed at step 2: trainer.max_epochs: 2 -> 3." in record.notes
    assert "Changed at step 2: model.init_args.optimizer.init_args.lr: 0.001 -> 0.002." in record.notes
    text = (cut / "config.yaml").read_text()
    assert (
        "\n# changed at step 2: trainer.max_epochs: 2 -> 3\n" in text and "# changed at step 2: trainer.log" not in text
    )
    config = yaml.safe_load(text)["trainer"]
    assert (config["max_epochs"], config["log_every_n_steps"], config["callbacks"]) == (3, 1, None)


@pytest.mark.slow
def test_a_change_stays_allowed_until_a_state_knows_of_it(cut, finelab, monkeypatch):
    """Killed between config.yaml and the next state."""

    class Killed(Exception):
        pass

    def die(self) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Objective, "on_train_start", die)
        finelab("fit", "--resume", cut, "--trainer.max_epochs", 3, "--allow-change", "trainer.max_epochs")
    assert finelab("fit", "--resume", cut, "--no-check") == 143
    assert read_record(cut).cost.steps == 3
    assert finelab("fit", "--resume", cut, "--no-check") == 143, "the state knows of it by now"


def test_a_relative_path_from_another_folder_is_explained(made, cut, untouched):
    said = untouched("fit", "--resume", cut, "--data.source", "./texts", "--allow-change", "data.source")
    assert "texts" in said and f"was trained from the folder {made}" in said


def test_other_data_are_refused(made, cut, untouched):
    rows = made / "texts" / "train.jsonl"
    kept = rows.read_text()
    rows.write_text(kept.replace("train 3", "train three"))
    with next(cut.glob("events.*")).open("ab") as points:
        points.write(b"points after the state")
    try:
        said = untouched("fit", "--resume", cut, "--no-check")
    finally:
        rows.write_text(kept)
    assert "The data are not those" in said and "--allow-change data.fingerprint" in said


def test_the_curve_of_another_logger_is_warned_of(cut, finelab):
    logger = json.dumps({"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "csv"}})
    with pytest.warns(UserWarning, match="trainer.logger: CSVLogger is not cut back"):
        assert finelab("fit", "--resume", cut, "--no-check", f"--trainer.logger={logger}") == 143


def test_a_new_run_from_a_state(made, cut, finelab, capsys):
    before, state = contents(cut), latest_state(cut)
    argv = ("fit", "-c", made / "small.yaml", "--run.name", "branch", "--ckpt_path", state, "--no-check")
    assert finelab(*argv, "--trainer.callbacks", "null") == 2
    assert "trainer.callbacks: [outside_package.Kick] -> null" in capsys.readouterr().err
    assert not Path("runs/branch").exists()
    assert finelab(*argv, "--trainer.callbacks", "null", "--allow-change", "trainer.callbacks") == 0
    record = read_record(Path("runs/branch"))
    assert record.cost.steps == 6 and record.status == "finished"
    assert any(f"Started at step 2 from {state}" in note for note in record.notes)
    assert weights(Path("runs/branch")) == weights(made / "runs" / "whole")
    assert contents(cut) == before


def test_a_new_run_from_the_end_of_training_is_evaluated(made, outside, here, finelab):
    kick = json.dumps([{"class_path": f"{outside}.Kick", "init_args": {"steps": [6]}}])
    argv = ("fit", "-c", made / "small.yaml", "--no-check", f"--trainer.callbacks={kick}")
    assert finelab(*argv, "--run.name", "last") == 143
    state = latest_state(Path("runs/last"))
    assert state is not None and state.name == "state-00000006"
    assert finelab(*argv, "--run.name", "branch", "--ckpt_path", state) == 0
    assert read_record(Path("runs/branch")).status == "finished"
    assert weights(Path("runs/branch")) == weights(made / "runs" / "whole")


def test_an_unfinished_run_can_be_evaluated(made, cut, finelab, capsys):
    assert finelab("validate", "--run", cut) == 2
    assert f"finelab fit --resume {cut} goes on with it" in capsys.readouterr().err
    shutil.copytree(made / "runs" / "whole" / "checkpoints" / "best", cut / "checkpoints" / ".best.old")
    assert finelab("validate", "--run", cut) == 0, "what a kill during its replacement has left is put back"
    printed = capsys.readouterr()
    assert f"finelab: {cut} is not finished (interrupted): these are its best weights so far" in printed.err
    assert "val/accuracy" in printed.out


# ---- refused before torch is asked


def finished(run: Path) -> None:
    record = json.loads((run / RECORD_FILE).read_text()) | {"status": "finished", "notes": ["made up"]}
    (run / RECORD_FILE).write_text(json.dumps(record))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def newest(run: Path) -> Path:
    state = latest_state(run)
    assert state is not None
    return state


REFUSED = {
    "finished": (finished, ["is finished", "nothing to go on with"]),
    "no state": (lambda run: shutil.rmtree(newest(run)), ["no training state", "config.yaml --run.name NAME"]),
    "damaged state": (lambda run: flip(newest(run) / TENSORS), [TENSORS, "damaged"]),
    "no manifest": (
        lambda run: (newest(run) / MANIFEST).unlink(),
        [MANIFEST, "damaged", "start the run again", "best"],
    ),
    "damaged manifest": (lambda run: (newest(run) / MANIFEST).write_text("{"), [MANIFEST, "damaged"]),
    "truncated state": (lambda run: os.truncate(newest(run) / TENSORS, 100), [TENSORS, "damaged"]),
    "another format": (
        lambda run: (newest(run) / MANIFEST).write_text('{"format": 99, "files": {}}'),
        ["format '99'", "version that wrote it"],
    ),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), ["is no run", "has no config.yaml"]),
    "another name": (lambda run: run.rename("runs/movde"), ["does not exist", "did you mean runs/movde?"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_without_torch(case, cut, untouched):
    change, parts = REFUSED[case]
    change(cut)
    said = untouched("fit", "--resume", cut)
    assert all(part in said for part in parts), said
    assert "fit --resume" not in said and "--ckpt_path" not in said, "what was just typed, or a state that is not there"


def test_a_run_that_never_began_to_train_has_no_weights(cut, untouched):
    shutil.rmtree(cut / "checkpoints")
    (cut / RECORD_FILE).unlink()
    said = untouched("test", "--run", cut)
    assert "was stopped before training began; start it again with finelab fit -c runs/moved/config.yaml" in said
    assert "did you mean" not in said
    with RunLock(cut):
        assert "has no weights: it has not begun to train" in untouched("test", "--run", cut)


def test_a_run_that_is_being_written_is_refused(cut, untouched):
    with RunLock(cut):
        assert f"being written by another process (process {os.getpid()})" in untouched("fit", "--resume", cut)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["fit", "--resume"], ["--resume", "needs a value"]),
        (["fit", "--resume", "runs/moved", "--ckpt_path", "x"], ["exclude each other"]),
        (["fit", "-c", "x.yaml", "--allow-change", "trainer"], ["--allow-change trainer", "belongs to --resume"]),
        (["fit", "--ckpt_path", "runs/moved"], ["no training state", "state-00000120"]),
        (["fit", "--ckpt_path", "last.ckpt"], ["training state of finelab is a folder", ".ckpt"]),
        (["test", "--ckpt_path", "x"], ["--ckpt_path"]),
        (["validate", "--resume", "runs/moved"], ["belongs to fit and predict"]),
    ],
    ids=lambda value: " ".join(value[:3]),
)
def test_options_that_do_not_fit(words, parts, cut, here, untouched):
    (here / "x.yaml").write_text("seeds: 1\n")
    said = untouched(*words)
    assert all(part in said for part in parts), said


# ---- how a fit ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_before_training_leaves_nothing(number, made, here, finelab, monkeypatch, capsys):
    original = FineTuner.configure_model

    def interrupted(self) -> None:
        os.kill(os.getpid(), number)
        original(self)

    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    monkeypatch.setattr(FineTuner, "configure_model", interrupted)
    try:
        assert finelab("fit", "-c", made / "small.yaml", "--no-check") == 128 + number
    finally:
        signal.signal(signal.SIGINT, former)  # Lightning has it ignored once it has seen one
    assert not (here / "runs").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "put back"


def test_a_run_that_fails_ends_with_1_and_says_how_to_go_on(made, here, finelab, monkeypatch, capsys):
    original = Objective.on_before_optimizer_step

    def fail(self, optimizer) -> None:
        if self.trainer.global_step == 1:
            raise NonFiniteError("a made-up end.")
        original(self, optimizer)

    monkeypatch.setattr(Objective, "on_before_optimizer_step", fail)
    assert finelab("fit", "-c", made / "small.yaml", "--run.name", "one", "--no-check") == 1
    said = capsys.readouterr().err
    assert "a made-up end. runs/one did not finish (recorded as 'failed: nonfinite')" in said
    assert "finelab fit --resume runs/one --trust-module outside_package goes on from there" in said
    assert "Traceback" not in said


def test_success_is_a_valid_record(made, here, finelab, monkeypatch, capsys):
    def without_a_record(self, fit, trainer) -> None:
        fit()
        (self.directory / RECORD_FILE).write_text("{}")
        self._finish(trainer)

    monkeypatch.setattr(fit_run.FitRun, "train", without_a_record)
    argv = ("fit", "-c", made / "small.yaml", "--run.name", "one", "--trainer.callbacks=null", "--no-check")
    assert finelab(*argv) == 1
    assert "not a valid record" in capsys.readouterr().err


@pytest.mark.slow
def test_a_record_that_says_something_else_is_no_success(made, here, finelab, monkeypatch, capsys):
    def interrupted_after_all(self, fit, trainer) -> None:
        fit()
        content = json.loads((self.directory / RECORD_FILE).read_text()) | {"status": "interrupted"}
        (self.directory / RECORD_FILE).write_text(json.dumps(content))
        self._finish(trainer)

    monkeypatch.setattr(fit_run.FitRun, "train", interrupted_after_all)
    argv = ("fit", "-c", made / "small.yaml", "--run.name", "one", "--trainer.callbacks=null", "--no-check")
    assert finelab(*argv) == 1
    assert "the record says 'interrupted'" in capsys.readouterr().err
