"""What a study file says, and every error with its line."""

import subprocess
import sys
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.seeds import Seeds
from finelab.studies.study_file import read_study

STUDY = """\
study: small_study
base: base.yaml
factors:
  adapter:
    lora: {model.adapter: {class_path: peft.LoraConfig, init_args: {r: 8}}, model.optimizer.lr: 2e-3}
    full: {model.adapter: finelab.models.adapters.Full}
  method:
    off: {}
    rdrop: {model.regularizers: []}
    rdrop placebo: {placebo_of: rdrop, data.batch_size: 64}
  dropout: {when: {adapter: lora}, key: model.adapter.init_args.lora_dropout, values: [0.0, 0.10]}
baseline: {adapter: lora, method: off, dropout: 0}
metric: test/accuracy
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("seeds: 1\n")

    def run(old: str = "", new: str = "", more: str = ""):
        assert old in STUDY
        Path("study.yaml").write_text(STUDY.replace(old, new, 1) + more)
        return read_study(Path("study.yaml"))

    return run


@pytest.fixture
def refused(read):
    def run(old: str = "", new: str = "", more: str = "") -> str:
        with pytest.raises(UserError) as error:
            read(old, new, more)
        assert "\n" not in str(error.value)
        return str(error.value)

    return run


def test_a_short_file_and_its_defaults(read):
    study = read()
    assert (study.name, study.design, study.match, study.root, study.noise) == (
        "small_study",
        "grid",
        "steps",
        Path("runs"),
        0,
    )
    assert study.replicates == tuple(Seeds(n, n, n) for n in range(1, 6))
    assert (study.metric.key, study.metric.mode) == ("test/accuracy", "max")
    assert study.folder == Path("runs/small_study") and study.text.startswith("study: small_study")
    assert study.base == Path("base.yaml") and study.limits.timeout is None
    assert study.tune is None and study.confirm is None and study.margin is None


def test_names_stay_as_they_are_written(read):
    """``off`` is no truth and 0.10 keeps its digits; 1e-4 is a number, which YAML 1.1 would take for text."""
    study = read("2e-3", "1e-4")
    adapter, method, dropout = study.factors
    assert [level.name for level in method.levels] == ["off", "rdrop", "rdrop placebo"]
    assert [level.name for level in dropout.levels] == ["0.0", "0.10"]
    assert study.baseline == {"adapter": "lora", "method": "off", "dropout": "0.0"}, "found by its number"
    assert adapter.levels[0].overrides["model.optimizer.lr"] == 1e-4
    assert dropout.levels[1].overrides == {"model.adapter.init_args.lora_dropout": 0.1}
    assert dropout.when == {"adapter": ("lora",)}
    assert method.levels[2].placebo_of == "rdrop" and method.levels[2].overrides == {"data.batch_size": 64}
    assert adapter.levels[1].where == "study.yaml:6"


def test_a_number_of_replicates_passes_over_seeds_in_use(read):
    study = read(
        more="replicates: [{data: 1, init: 2, train: 901}, 7]\n"
        "tune: {space: {model.optimizer.lr: {times: [0.3, 3]}}, seeds: 2, metric: nll}\nconfirm: {arms: 2, "
        "replicates: 3}\n"
    )
    assert study.replicates == (Seeds(1, 2, 901), Seeds(7, 7, 7))
    assert study.tune is not None and study.tune.seeds == (Seeds.of(902), Seeds.of(903))
    assert study.confirm is not None and [seeds.data for seeds in study.confirm.seeds] == [1001, 1002, 1003]
    assert (study.tune.trials, study.tune.metric.key, study.tune.metric.mode) == (3, "validation/nll", "min")


def test_a_seed_that_never_varies_is_fixed_on_purpose(read, refused):
    fixed = "replicates: [{data: 1, init: 1, train: 1}, {data: 1, init: 2, train: 2}]\n"
    tune = "tune: {space: {model.optimizer.lr: [1, 2]}, seeds: [{data: 1, init: %d, train: 9}], metric: accuracy}\n"
    assert len(read(more=fixed + tune % 9).replicates) == 2
    assert "replicates and tune.seeds share the init seed 2" in refused(more=fixed + tune % 2)


@pytest.mark.parametrize(
    ("given", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("6h", 21600), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(read, given, seconds):
    assert read(more=f"limits: {{timeout: {given}}}\n").limits.timeout == seconds


def test_metrics(read):
    study = read("metric: test/accuracy", "metric: {name: tones/own, split: validation, mode: min}")
    assert (study.metric.key, study.metric.mode) == ("validation/tones/own", "min")
    assert read(more="secondary: [test/nll, test/accuracy, cost/training_seconds]\n").secondary == (
        "test/nll", "cost/training_seconds",
    )  # fmt: skip


def test_search_spaces(read):
    space = "{model.optimizer.lr: {low: 1e-5, high: 1e-2, log: true}, model.head_dropout: [0.0, 0.1]}"
    tune = read(more=f"tune: {{space: {space}, trials: 8, sampler: random, metric: accuracy}}\n").tune
    assert tune is not None and tune.trials == 8 and tune.sampler == "random"
    lr, dropout = tune.space
    assert (lr.low, lr.high, lr.log) == (1e-5, 1e-2, True) and dropout.values == (0.0, 0.1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("study: small_study", "study: small study", "study.yaml:1 sets study: small study, but it names a folder"),
        ("base: base.yaml", "base: bose.yaml", "study.yaml:2 sets base: bose.yaml, but bose.yaml is no file"),
        ("base: base.yaml\n", "", "study.yaml says nothing about base"),
        ("metric:", "metrics:", "study.yaml:13 sets metrics: test/accuracy, but a study file has no key 'metrics'; "
         "did you "
         "mean 'metric'?"),
        ("lora: {model", "lora: {modle", "study.yaml:5 sets factors.adapter.lora.modle.adapter, but a configuration "
         "has no "
         "key 'modle'; did you mean 'model'?"),
        ("data.batch_size: 64", "seeds: 4", "study.yaml:10 sets factors.method.rdrop placebo.seeds: 4, but no level "
         "may set "
         "seeds"),
        ("data.batch_size: 64", "evaluate_test: true", "never while tuning"),
        ("data.batch_size: 64", "run.name: x", "no level may set run"),
        ("placebo_of: rdrop", "placebo_of: rdro", "study.yaml:10: factor method, level rdrop placebo is the placebo "
         "of 'rdro', "
         "which is no other level of that factor; did you mean 'rdrop'?"),
        ("lora:", "'-lora':", "'-lora' cannot be the name of a level of factor adapter"),
        ("  method:", "  'a/b':", "'a/b' cannot be the name of a factor"),
        ("when: {adapter: lora}", "when: {adaptor: lora}", "applies under 'adaptor', which is no other factor"),
        ("when: {adapter: lora}", "when: {adapter: lara}", "factor adapter has no level 'lara'; did you mean 'lora'?"),
        ("when: {adapter: lora}", "when: {adapter: []}", "so that it never holds"),
        ("method: off", "method: of", "study.yaml:12 sets baseline.method: of, but factor method has no level 'of'"),
        ("dropout: 0}", "dropout: 0.2}", "factor dropout has no level '0.2'"),
        ("values: [0.0, 0.10]", "values: [0.0, 0.0]", "stands there twice"),
        (", values: [0.0, 0.10]", "", "values is missing"),
        ("test/accuracy", "accuracy", "but the split is missing: write test/accuracy or validation/accuracy"),
        ("test/accuracy", "test/own", "nothing says which way 'own' is better"),
        ("    off: {}\n", "    off: {}\n    off: {}\n", "study.yaml:9 says factors.method.off a second time"),
        ("    off: {}\n", "    off: !!python/object:os.system {}\n", "study.yaml:8"),
        ("64}", "!!python/tuple [1]}", "has the YAML tag"),
        ("64}", "!!binary aGk=}", "study.yaml:10 has the YAML tag !!binary"),
        ("    off: {}\n", "    <<: {}\n", "merges with <<"),
        ("{r: 8}", "{r: 8, r: 9}", "a second time"),
        ("{r: 8}", "{r: 8", "is not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_refused(refused, old, new, said):
    assert said in refused(old, new)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("desing: grid\n", "did you mean 'design'?"),
        ("design: girds\n", "one of grid, one_factor"),
        ("design: cells\n", "but no cells are listed"),
        ("design: {cells: []}\n", "but no cells are listed"),
        ("replicates: [1, 1]\n", "names a replicate twice"),
        ("replicates: 0\n", "an integer of at least 1"),
        ("replicates: [{data: 1}]\n", "init and train of data, init and train are missing"),
        ("tune: {space: {model.optimizer.lr: [1, 2]}, seeds: [1], metric: accuracy}\n", "share the data seed 1"),
        ("tune: {space: {model.optimizer.lr: [1, 2]}, metric: test/accuracy}\n", "never on test"),
        ("tune: {space: {model.optimizer.lr: [1, 2]}, metric: accuracy, trials: 4}\n", "with the default 3 trials"),
        ("tune: {space: {model.optimizer.lr: {low: 1, high: 2}}, metric: accuracy}\n", "is a range, and a grid has "
         "values"),
        ("tune: {space: {model.optimizer.lr: {times: [1, 3]}}, metric: accuracy}\n", "1 is trial 0 already"),
        ("tune: {space: {model.optimizer.lr: {low: 0, high: 2, log: true}}, trials: 3, sampler: random, metric: nll}\n",
         "more than 0"),
        ("tune: {space: {}, metric: accuracy}\n", "nothing is searched"),
        ("tune: {space: {seeds: [1, 2]}, metric: accuracy}\n", "not 'seeds'"),
        ("confirm: {replicates: [1]}\n", "replicates and confirm.replicates share"),
        ("secondary: [val/accuracy]\n", "write validation/accuracy"),
        ("secondary: [cost/traning_seconds]\n", "did you mean 'training_seconds'?"),
        ("secondary: [accuracy]\n", "says what it is of"),
        ("margin: -1\n", "larger than 0"),
        ("noise: 1\n", "one rerun has no spread"),
        ("engine: rey\n", "did you mean 'ray'?"),
        ("limits: {timeout: soon}\n", "a time such as 90s"),
        ("limits: {cell: 4}\n", "did you mean 'cells'?"),
        ("within: [adaptor]\n", "did you mean 'adapter'?"),
        ("tasks: data\n", "one of adapter, method, dropout"),
        ("views: {strength: weight}\n", "one of adapter"),
        ("match: step\n", "did you mean 'steps'?"),
    ],
)  # fmt: skip
def test_what_else_is_refused(refused, more, said):
    message = refused(more=more)
    assert said in message and "study.yaml" in message


def test_a_nested_alias_ends(refused):
    assert "nests" in refused("{r: 8}", "&a {r: *a}")


def test_no_package_that_takes_seconds_is_imported():
    heavy = "{'torch', 'lightning', 'transformers', 'peft', 'datasets', 'numpy', 'scipy', 'pyarrow'}"
    code = f"import sys, finelab.studies.study_file, finelab.studies.planning; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
