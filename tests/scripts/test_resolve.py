"""Every configuration of a study by one child: overrides put on, errors with their place, and what fit would write."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml

from finelab.contracts.errors import UserError
from finelab.contracts.record import read_record
from finelab.contracts.run_config import config_digest
from finelab.contracts.seeds import Seeds
from finelab.contracts.uri import resolve as locate
from finelab.scripts import resolve as command
from finelab.scripts.cli import main
from finelab.scripts.resolve import resolve_all
from finelab.studies import trial_parsing
from finelab.studies.design import arms_of
from finelab.studies.plan import Place, Plan, cell_of
from finelab.studies.resolution import Resolution
from finelab.studies.resolver import Request, resolve, resolved_of
from finelab.studies.study_file import read_study
from finelab.studies.variants import variants_of

STUDY = """
study: small
base: small.yaml
overrides: {trainer.max_steps: 2}
factors:
  adapter:
    lora: {}
    large:
      model.adapter: {class_path: peft.LoraConfig, init_args: {r: 4}}
      model.optimizer.lr: 1e-2
    full: {model.adapter: {class_path: finelab.models.adapters.Full}, model.optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1}}}
  method:
    none: {model.regularizers: []}
    rdrop: {model.regularizers+: [{class_path: finelab.models.regularizers.RDrop, init_args: {weight: 1}}]}
  dropout: {when: {adapter: [lora]}, key: model.adapter.lora_dropout, values: [0.0, 0.1]}
baseline: {adapter: lora, method: none}
replicates: 2
metric: test/accuracy
tune: {space: {model.optimizer.init_args.lr: {times: [3]}}, metric: accuracy}
"""  # noqa: E501

ARMS_WITH_ALL_KEYS = ["lora + none + dropout 0.1", "large + rdrop", "full + none"]


@pytest.fixture
def study(config, here):
    """Reads the study file, with some text replaced, on the small configuration."""

    def read(old: str = "", new: str = "", text: str = STUDY):
        config()
        assert old in text
        (here / "study.yaml").write_text(text.replace(old, new, 1))
        return read_study(here / "study.yaml")

    return read


def asked(study, names=None) -> tuple[Request, tuple]:
    arms = arms_of(study)
    variants = [variant for variant in variants_of(study, arms) if names is None or variant.name in names]
    return Request(study.base, study.file, tuple(variants), (), study.trusted), arms


def answered(study, names=None) -> dict:
    return resolve_all(asked(study, names)[0])


@pytest.fixture
def errors(study):
    def run(old: str, new: str) -> list[str]:
        return [message for message, _ in answered(study(old, new), ARMS_WITH_ALL_KEYS)["errors"]]

    return run


def test_overrides_replace_classes_whole_refine_and_append(study):
    found = answered(study())
    assert found["errors"] == []
    config = {name: variant["config"] for name, variant in found["variants"].items()}
    assert list(config) == [
        "lora + none + dropout 0.0", "lora + none + dropout 0.1", "lora + rdrop + dropout 0.0",
        "lora + rdrop + dropout 0.1", "large + none", "large + rdrop", "full + none", "full + rdrop",
    ]  # fmt: skip
    model = {name: each["model"]["init_args"] for name, each in config.items()}
    kept = model["lora + none + dropout 0.1"]["adapter"]["init_args"]
    assert (kept["r"], kept["target_modules"], kept["lora_dropout"]) == (2, "all-linear", 0.1)
    whole = model["large + none"]["adapter"]["init_args"]
    assert (whole["r"], whole["target_modules"]) == (4, None), "the same class, and nothing of the old arguments"
    assert model["large + none"]["optimizer"]["init_args"]["lr"] == 0.01
    assert model["full + none"]["optimizer"]["init_args"] == {
        **model["full + none"]["optimizer"]["init_args"], "lr": 1.0, "weight_decay": 0.0,
    }  # fmt: skip
    assert [each["class_path"].rpartition(".")[2] for each in model["full + rdrop"]["regularizers"]] == [
        "L2SP",
        "RDrop",
    ]
    assert model["full + none"]["regularizers"] == []


def test_cells_do_not_stop_early_and_show_no_bar(study):
    variant = answered(study(), ["full + none"])["variants"]["full + none"]
    assert variant["config"]["trainer"]["callbacks"] == []
    assert variant["config"]["trainer"]["enable_progress_bar"] is False
    assert variant["config"]["trainer"]["max_steps"] == 2
    assert "run" not in variant["config"]
    stopping = "{trainer.max_steps: 2, trainer.callbacks: [{class_path: finelab.callbacks.EarlyStopping}]}"
    variant = answered(study("{trainer.max_steps: 2}", stopping), ["full + none"])["variants"]["full + none"]
    assert variant["config"]["trainer"]["callbacks"][0]["class_path"] == "finelab.callbacks.EarlyStopping"


def test_data_and_base_are_told_apart_by_content(study, texts, here, monkeypatch):
    opened = []
    monkeypatch.setattr(command, "digest", lambda place, loading: opened.append(place.uri) or "weights")
    variants = answered(study(), ARMS_WITH_ALL_KEYS)["variants"].values()
    assert len({variant["data"] for variant in variants}) == 1 == len({variant["base"] for variant in variants})
    assert opened == ["tiny://bert"], "once for all variants"
    other = here / "others"
    other.mkdir()
    for file in texts.glob("*.jsonl"):
        (other / file.name).write_text(file.read_text().replace("nice", "fine"))
    changed = answered(study("full: {", f"full: {{data.source: {other}, "), ["large + none", "full + none"])["variants"]
    assert changed["large + none"]["data"] != changed["full + none"]["data"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "merges.txt"])
def test_a_base_is_another_one_with_another_tokenizer_or_configuration(study, here, name):
    """Its weights alone would leave old cells in the place of new ones."""
    folder = shutil.copytree(locate("tiny://bert").path, here / "base")
    (folder / "merges.txt").touch()
    read = study(
        "{trainer.max_steps: 2}", f"{{trainer.max_steps: 2, model.base: {folder}, model.loading.weights: random}}"
    )

    def base() -> str:
        answer = resolve_all(asked(read, ["full + none"])[0])
        assert answer["errors"] == []
        return answer["variants"]["full + none"]["base"]

    before = base()
    assert before == base()
    with (folder / name).open("a") as file:
        file.write("\n")
    assert base() != before


SEARCHED = "{model.optimizer.init_args.lr: {times: [3]}}"


def plan_with(study, monkeypatch, space: str) -> Plan:
    """The search ``space`` on a few arms, with the child's work done here."""

    def here(study, variants, measure=()):
        asked_for.append(len(variants))
        answer = resolve_all(Request(study.base, study.file, tuple(variants), (), study.trusted))
        if answer["errors"]:
            raise UserError(str(answer["errors"]))
        return Resolution({name: resolved_of(each) for name, each in answer["variants"].items()})

    asked_for: list[int] = []
    monkeypatch.setattr(trial_parsing, "resolve", here)
    read = study(SEARCHED, space)
    request, arms = asked(read, ["large + none"])
    arms = tuple(arm for arm in arms if arm.name == "large + none")
    plan = Plan(read, arms, request.variants, here(read, request.variants))
    plan = replace(plan, parsed=trial_parsing.parsed_values(plan))
    assert sum(asked_for) == 1 + len(plan.parsed)
    return plan


def trial_of(plan: Plan, setting: dict):
    return cell_of(plan, Place("large + none", None, "tune", 0, Seeds.of(901), trial=1), setting)


def test_trials_are_read_as_the_parser_reads_them(study, here, monkeypatch):
    """A class by its path, and a whole number for a float: fit writes the digest that the trial expects."""
    plan = plan_with(study, monkeypatch, "{model.optimizer: {values: [torch.optim.SGD]}}")
    setting = {"model.optimizer": "torch.optim.SGD"}
    trial = trial_of(plan, setting)
    assert trial.setting == setting
    assert trial.config["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.SGD"
    file = here / "trial.yaml"
    file.write_text(yaml.safe_dump(trial.config | {"run": {"root": str(here), "name": "trial"}}))
    assert main(["fit", "-c", str(file), "--no-check"]) == 0
    assert read_record(here / "trial").config_digest == trial.config_digest
    assert plan_with(study, monkeypatch, "{model.optimizer.lr: {times: [3.0]}}").parsed == {}
    whole = plan_with(study, monkeypatch, "{model.adapter.r: {times: [0.5, 2]}}")
    assert whole.parsed == {} and trial_of(whole, {"model.adapter.r": 8}).config["model"]["init_args"]["adapter"]


@pytest.mark.parametrize(
    ("space", "key"),
    [
        ("{model.adapter.r: {times: [0.3]}}", "model.adapter.r"),
        ("{model.optimizer.lr: {values: [fast]}}", "model.optimizer.lr"),
        ("{model.adapter.use_rslora: {values: [1]}}", "model.adapter.use_rslora"),
    ],
    ids=["fraction", "word", "number for a switch"],
)
def test_a_value_of_a_search_that_no_run_would_take(study, monkeypatch, space, key):
    with pytest.raises(UserError, match=rf"tune\.space searches {key}, arm large \+ none\) sets"):
        plan_with(study, monkeypatch, space)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("init_args: {r: 4}", "init_args: {rr: 4}",
         "study.yaml:8 (factor adapter, level large) sets model.adapter.init_args.rr: 4, but peft.LoraConfig takes no "
         "'rr'; did you mean 'r'?"),
        ("model.optimizer.lr: 1e-2", "model.optimizer.lr: fast",
         "study.yaml:8 (factor adapter, level large) sets model.optimizer.lr: fast, but expected is a number."),
        ("{trainer.max_steps: 2}", "{trainer.max_stepz: 2}",
         "study.yaml (overrides) sets trainer.max_stepz: 2, but trainer has no key 'max_stepz'; did you mean "
         "'max_steps'?"),
        ("regularizers.RDrop", "regularizers.RDrpo",
         "sets model.regularizers.0.class_path: finelab.models.regularizers.RDrpo, but finelab.models.regularizers has "
         "no such class; did you mean 'finelab.models.regularizers.RDrop'?"),
        ("class_path: torch.optim.SGD", "class_path: os.system", "which is not allowed."),
        ("model.adapter.lora_dropout", "model.seeds", "filled from the top-level key seeds"),
        ("model.optimizer.lr: 1e-2", "model.optimizer.lr.of: 2", "but model.optimizer.lr is 0.001 and holds no keys"),
        ("{weight: 1}", "{weight: -1}", "study.yaml:14 (factor method, level rdrop): model.regularizers: "
         "RDrop(weight=-1.0): below 0"),
    ],
    ids=["argument", "value", "trainer", "class", "allowed", "linked", "nowhere", "constructor"],
)  # fmt: skip
def test_a_wrong_override_is_named(errors, old, new, expected):
    found = errors(old, new)
    assert len(found) == 1 and expected in found[0], found


def test_all_errors_are_collected(study):
    read = study("init_args: {r: 4}", "init_args: {rr: 4}", STUDY.replace("{weight: 1}", "{wait: 1}"))
    found = answered(read)["errors"]
    assert [len(names) for _, names in found] == [3, 2], "of large + rdrop the parser says what it met first"
    assert "'wait'" in found[0][0] and "'rr'" in found[1][0]


def test_a_wrong_base_is_refused_as_fit_would(config, here):
    config("model:", "modle:")
    (here / "study.yaml").write_text(STUDY)
    request = here / "request.json"
    request.write_text(json.dumps(asked(read_study(here / "study.yaml"))[0].as_dict()))
    assert main(["resolve", str(request), str(here / "response.json")]) == 0
    (error,) = json.loads((here / "response.json").read_text())["errors"]
    assert "sets modle" in error[0] and "did you mean 'model'?" in error[0]


def test_a_resolved_configuration_is_a_fixed_point_of_fit(study, here):
    """A real run from the cell's file writes the digest and the seeds that the cell expects."""
    read = study()
    lora, full = "lora + rdrop + dropout 0.1", "full + rdrop"
    request, arms = asked(read, [lora, full])
    answer = resolve_all(request)
    resolution = Resolution({name: resolved_of(each) for name, each in answer["variants"].items()})
    plan = Plan(read, arms, request.variants, resolution)
    tuned = cell_of(plan, Place(lora, None, "tune", 0, Seeds.of(901), trial=1), {"model.optimizer.init_args.lr": 3})
    reported = cell_of(plan, Place(full, None, "report", 1, Seeds(1, 2, 3)), {"model.optimizer.lr": 0.5})
    for number, (cell, test_read) in enumerate(((tuned, False), (reported, True))):
        file = here / f"config{number}.yaml"
        file.write_text(yaml.safe_dump(cell.config | {"run": {"root": str(here), "name": f"run{number}"}}))
        assert main(["fit", "-c", str(file), "--no-check"]) == 0
        record = read_record(here / f"run{number}")
        assert record.config_digest == cell.config_digest == config_digest(cell.config)
        assert record.seeds == cell.seeds.as_dict() and record.test_read is test_read
        assert ("test" in record.metrics) is test_read


def test_measured_steps(study, texts, here):
    """Two forwards cost twice the operations of one; tokens, steps and parameters are counted by hand."""
    read = study("{trainer.max_steps: 2}", "{trainer.max_epochs: 3, trainer.accumulate_grad_batches: 2}")
    names = ["lora + none + dropout 0.0", "lora + rdrop + dropout 0.0", "full + none"]
    request, _ = asked(read, names)
    before = sorted(here.rglob("*"))
    answer = resolve_all(replace(request, measure=(names[0], names[1])))
    assert answer["errors"] == [] and sorted(here.rglob("*")) == before, "nothing is written"
    plain, twice = (resolved_of(answer["variants"][name]).measured for name in names[:2])
    assert answer["variants"][names[2]]["measured"] is None
    assert plain is not None and twice is not None and plain.flops_per_step and twice.flops_per_step
    assert twice.flops_per_step == pytest.approx(2 * plain.flops_per_step, rel=1e-3)
    assert (plain.planned_steps, twice.planned_steps) == (2 * 3, 2 * 3), "3 epochs of 3 batches, two to a step"
    letters = [len(json.loads(line)["text"].encode()) + 2 for line in (texts / "train.jsonl").read_text().splitlines()]
    assert plain.tokens_per_step == pytest.approx(2 * sum(letters) / 3), "one token a byte, and two specials a row"
    assert min(plain.seconds_per_step, plain.evaluation_seconds, plain.peak_memory_bytes) > 0
    lora = 2 * 2 * (4 * (32 + 32) + (32 + 64) + (64 + 32))  # layers, r, four square matrices, up and down
    assert plain.trainable == lora + 2 * 32 + 2, "and the head"


@pytest.mark.slow
def test_the_child_process(study, monkeypatch):
    read = study()
    arms = arms_of(read)
    found = resolve(read, variants_of(read, arms)[:2])
    assert len(found.variants) == 2 and set(found.versions) == {"finelab", "torch", "lightning", "transformers", "peft"}
    assert len(found.code) == 16
