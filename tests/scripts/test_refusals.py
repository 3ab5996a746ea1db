"""Whatever a user can put right is one paragraph: where, the key, the value, the nearest valid name; exit code 2."""

import subprocess
import sys

import pytest

from finelab.scripts import precheck
from finelab.scripts.cli import main

IN_THE_FILE = {
    "unknown key at the top": ("trainer:", "triner:", ["small.yaml:", "sets triner", "did you mean 'trainer'?"]),
    "seed_everything": ("seeds: 5", "seed_everything: 5", ["small.yaml:1", "seed_everything: 5", "seeds: 1"]),
    "unknown key of the trainer": ("max_epochs: 1", "max_epoch: 1", ["trainer.max_epoch: 1", "'max_epochs'"]),
    "unknown key of the model": ("base:", "bass:", ["small.yaml:5", "model.init_args.bass: tiny://bert", "'base'"]),
    "unknown key of an adapter": ("r: 2", "rr: 2", ["model.init_args.adapter.init_args.rr: 2", "did you mean 'r'?"]),
    "unknown key of a regularizer": (
        "weight: 0.01",
        "wieght: 0.01",
        ["model.init_args.regularizers.0.init_args.wieght: 0.01", "did you mean 'weight'?"],
    ),
    "unknown key of an optimizer": ("lr: 0.001", "llr: 0.001", ["optimizer.init_args.llr", "did you mean 'lr'?"]),
    "wrong type": ("max_epochs: 1", "max_epochs: many", ["trainer.max_epochs: many", "expected is an integer or null"]),
    "wrong type, nested": ("r: 2", "r: eight", ["adapter.init_args.r: eight", "expected is an integer"]),
    "wrong type in a list": ("weight: 0.01", "weight: big", ["regularizers.0.init_args.weight: big", "a number"]),
    "wrong type of a factory's argument": ("lr: 0.001", "lr: fast", ["optimizer.init_args.lr: fast", "a number"]),
    "unknown model": ("SequenceClassifier", "SequenceClasifier", ["small.yaml:3", "did you mean 'finelab.models.Seq"]),
    "unknown adapter": ("LoraConfig", "LoRAConfig", ["adapter.class_path: peft.LoRAConfig", "'peft.LoraConfig'"]),
    "unknown regularizer": (
        "regularizers.L2SP",
        "regularizers.L2PS",
        ["did you mean", "regularizers.L2SP'"],
    ),
    "unknown optimizer": (
        "AdamW",
        "AdamZ",
        ["class_path: torch.optim.AdamZ", "mean 'torch.optim.Adam"],
    ),
    "unknown module": ("finelab.data.TextData", "finelab.dta.TextData", ["finelab.dta.TextDataModule", "did you mean"]),
    "missing argument": (
        "    base: tiny://bert\n",
        "",
        ["nothing about base", "under model.init_args.base"],
    ),
    "some of the seeds": ("seeds: 5", "seeds: {data: 1}", ["small.yaml:1", "all three of data, init and train"]),
    "argument beside class_path": (
        "  init_args:\n    base:",
        "  base: x\n  init_args:\n    base:",
        ["small.yaml:4", "model.init_args.base"],
    ),
    "linked key": ("    base:", "    seeds: 3\n    base:", ["model.init_args.seeds", "filled from", "remove it"]),
    "the same key twice": ("seeds: 5", "seeds: 5\nseeds: 6", ["small.yaml:2", "a second time", "line 1"]),
    "invalid YAML": ("seeds: 5", "seeds: [5", ["small.yaml:", "not valid YAML"]),
    "a list": ("seeds: 5\n", "- 1\n#", ["small.yaml"]),
    "a name that is no folder": ("seeds: 5", "seeds: 5\nrun: {name: ../up}", ["run.name='../up'"]),
    "a value that the trainer refuses": ("accelerator: cpu", "accelerator: warp", ["small.yaml", "warp", "cpu"]),
}


@pytest.mark.parametrize("case", IN_THE_FILE)
def test_in_the_file(case, config, refused):
    old, new, parts = IN_THE_FILE[case]
    paragraph = refused("fit", "-c", config(old, new))
    assert all(part in paragraph for part in parts), paragraph


FROM_ANOTHER_FOLDER = {
    "a wrong key": ("r: 2", "rr: 2", ["init_args.adapter.init_args.rr: 2", "did you mean 'r'?"]),
    "a wrong option of a regularizer": ("weight: 0.01", "wieght: 0.01", ["regularizers.0.init_args.wieght: 0.01"]),
    "a mapping in the place of a list": (
        "    - class_path: finelab.models.regularizers.L2SP\n      init_args:\n        weight: 0.01\n",
        "      class_path: finelab.models.regularizers.L2SP\n      init_args:\n        weight: 0.01\n",
        ["model.init_args.regularizers", "it is a list", "- class_path: finelab.models.regularizers.CLASS"],
    ),
}


@pytest.mark.parametrize("case", FROM_ANOTHER_FOLDER)
def test_in_a_file_of_another_folder(case, config, refused, here):
    """The parser goes into the folder of the file, so that a relative path no longer leads there."""
    old, new, parts = FROM_ANOTHER_FOLDER[case]
    (here / "sub").mkdir()
    config(old, new, "sub/small.yaml")
    paragraph = refused("fit", "-c", "sub/small.yaml")
    assert all(part in paragraph for part in ["sub/small.yaml:", *parts]), paragraph


def test_short_names_in_a_process_of_their_own(config, here):
    """The parser knows short names of what is imported already, and other tests have imported some."""
    (here / "sub").mkdir()
    config("finelab.models.regularizers.L2SP", "SAM", "sub/small.yaml")
    in_a_file = refused_apart("fit", "-c", "sub/small.yaml")
    assert "sub/small.yaml:" in in_a_file and "0.class_path: SAM" in in_a_file
    assert "'finelab.models.regularizers.SAM'" in in_a_file
    added = refused_apart("fit", "-c", config(), "--model.regularizers+=RDrop")
    assert "--model.regularizers+ RDrop" in added and "no full import path" in added
    assert "mean 'finelab.models.regularizers.RDrop'" in added


def refused_apart(*words: object) -> str:
    program = "import sys; from finelab.scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run([sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


ON_THE_COMMAND_LINE = {
    "no such command": (["fti"], ["'fti'", "did you mean 'fit'?"]),
    "unknown key": (["fit", "--modle.base=x"], ["The command line sets --modle.base x", "did you mean 'model'?"]),
    "abbreviation": (["fit", "--trainer.max_epoch=3"], ["--trainer.max_epoch", "did you mean 'max_epochs'?"]),
    "unknown argument": (["fit", "--model.bass", "x"], ["--model.bass x", "did you mean 'base'?"]),
    "wrong type": (["fit", "--trainer.max_epochs", "x"], ["--trainer.max_epochs x", "an integer or null"]),
    "missing argument of an addition": (
        ["fit", "--model.regularizers+=outside_package.Nothing"],
        ["--model.regularizers+ outside_package.Nothing", "nothing about weight", "--model.regularizers.weight"],
    ),
    "a class in the place of a list": (
        ["fit", "--model.regularizers=finelab.models.regularizers.RDrop"],
        ["regularizers.RDrop, but it is a list", "--model.regularizers+=finelab.models.regularizers.CLASS"],
    ),
    "a learning rate in the place of a list": (
        ["fit", "--model.learning_rates=finelab.models.LayerDecay"],
        ["it is a list", "--model.learning_rates+=finelab.models.CLASS"],
    ),
    "an adapter by its short name": (
        ["fit", "--model.adapter=BottleNeck"],
        ["--model.adapter BottleNeck", "no full import path", "mean 'finelab.models.adapters.Bottleneck'"],
    ),
    "a regularizer as adapter": (
        ["fit", "--model.adapter=finelab.models.regularizers.RDrop"],
        ["--model.adapter finelab.models.regularizers.RDrop", "no Adapter and no PeftConfig"],
    ),
    "an adapter as regularizer": (
        ["fit", "--model.regularizers+=finelab.models.adapters.Full"],
        ["--model.regularizers+ finelab.models.adapters.Full", "is no Regularizer"],
    ),
    "a letter of another case": (
        ["fit", "--model.adapter=finelab.models.adapters.BottleNeck"],
        [
            "command line sets --model.adapter finelab.models.adapters.BottleNeck,",
            "'finelab.models.adapters.Bottleneck'",
        ],
    ),
    "an option before its regularizer": (
        ["fit", "--model.regularizers=null", "--model.regularizers.weight=3"],
        ["--model.regularizers.weight 3", "no class stands before it", "--model.regularizers+="],
    ),
    "help without a class": (
        ["fit", "--model.regularizers.help"],
        ["--model.regularizers.help finelab.models.regularizers.CLASS"],
    ),
    "linked key": (["fit", "--data.seed", "3"], ["--data.seed", "filled from"]),
    "seed_everything": (["fit", "--seed_everything=3"], ["--seed_everything 3", "three seeds"]),
    "stray word": (["fit", "stray"], ["'stray'"]),
    "--run with fit": (["fit", "--run", "runs/a"], ["--run runs/a", "--run.name"]),
    "no such run": (["test", "--run", "runs/a"], ["runs/a", "not a finished run"]),
    "--input with test": (["test", "--input", "a.csv"], ["--input", "belong to predict"]),
    "no such input": (["predict", "--input", "a.csv"], ["--input a.csv", "does not exist"]),
    "output of an unknown kind": (["predict", "--output", "a.xml"], ["--output a.xml", ".jsonl or .csv"]),
    "output into no folder": (["predict", "--output", "no/a.csv"], ["--output no/a.csv", "missing"]),
    "an option without its value": (["fit", "--trust-module"], ["--trust-module", "needs a value"]),
    "a trusted name that is none": (["fit", "--trust-module", "no-name"], ["--trust-module", "no-name"]),
}


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_on_the_command_line(case, config, refused, outside):
    argv, parts = ON_THE_COMMAND_LINE[case]
    paragraph = refused(argv[0], "-c", config(), "--trust-module", outside, *argv[1:])
    assert all(part in paragraph for part in parts), paragraph


def test_a_config_file_that_is_not_there(config, refused):
    config()
    paragraph = refused("fit", "-c", "smal.yaml")
    assert "'smal.yaml'" in paragraph and "did you mean small.yaml?" in paragraph


def test_neither_model_nor_data(refused):
    assert "model and data" in refused("fit")


def test_data_that_is_not_there(config, refused, texts):
    paragraph = refused("fit", "-c", config(), "--data.source", "./nowhere.jsonl")
    assert "nowhere.jsonl" in paragraph


def test_a_row_that_cannot_be_read_leaves_no_run(config, refused, tmp_path_factory):
    bad = tmp_path_factory.mktemp("bad") / "rows.jsonl"
    bad.write_text('{"text": "good", "label": "pos"}\n{"text": \n')
    paragraph = refused("fit", "-c", config(), "--data.source", bad)
    assert f"{bad}:2" in paragraph


def test_the_last_of_several_files_is_named(config, refused, here):
    (here / "over.yaml").write_text("trainer:\n  max_epochs: many\n")
    assert "over.yaml:2" in refused("fit", "-c", config(), "-c", "over.yaml")


def test_the_known_keys_are_the_parsers(config, here, monkeypatch):
    from finelab.scripts import lightning_cli
    from finelab.scripts.invocation import read_invocation

    found = {}

    def parse(self, parser, args):
        for name, sub in self._subcommand_parsers.items():
            keys = {action.dest.partition(".")[0] for action in sub._actions}
            found[name] = keys - {"help", "config", "print_config", "subcommand"}
        raise KeyboardInterrupt

    monkeypatch.setattr(lightning_cli.FinelabCLI, "parse_arguments", parse)
    with pytest.raises(KeyboardInterrupt):
        lightning_cli.FinelabCLI(read_invocation(["fit", "-c", str(config())]))
    assert found == {name: set(precheck.KEYS) for name in ("fit", "validate", "test", "predict")}


def test_an_unexpected_exception_keeps_its_traceback(config, here, monkeypatch):
    from finelab.scripts import lightning_cli

    def broken(invocation):
        raise ZeroDivisionError

    monkeypatch.setattr(lightning_cli, "execute", broken)
    with pytest.raises(ZeroDivisionError):
        main(["fit", "-c", str(config())])


@pytest.mark.parametrize(
    ("key", "path"),
    [("regularizers", "finelab.models.regularizers.SAM"), ("adapter", "finelab.models.adapters.Bottleneck")],
)
def test_help_names_a_class_by_the_path_that_is_documented(key, path, here, capsys):
    assert main(["fit", f"--model.{key}.help", path]) == 0
    printed = capsys.readouterr().out
    assert path in printed and f"finelab.models.{path.rpartition('.')[2]}" not in printed
