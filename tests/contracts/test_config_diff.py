"""One line a key, and which of them change no number."""

import copy
import re

import pytest

from finelab.contracts.config_diff import Change, changes, keys_of, require_known
from finelab.contracts.errors import UserError

CONFIG = {
    "seeds": {"data": 1, "init": 1, "train": 1},
    "run": {"root": "runs", "name": None},
    "trainer": {"max_epochs": 3, "logger": None, "callbacks": [{"class_path": "a.Stop", "init_args": {"patience": 3}}]},
    "model": {
        "class_path": "finelab.models.CausalLM",
        "init_args": {
            "adapter": {"class_path": "peft.LoraConfig", "init_args": {"r": 8, "target_modules": ["query", "key"]}},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1, "betas": [0.9, 0.999]}},
            "regularizers": [{"class_path": "finelab.models.regularizers.L2SP", "init_args": {"weight": 1}}],
        },
    },
    "data": {"class_path": "d.D", "init_args": {"loader": {"num_workers": 0, "bucketing": True}, "cache_dir": "x"}},
}

LORA = {"class_path": "peft.IA3Config", "init_args": {"target_modules": None}}
RDROP = {"class_path": "finelab.models.regularizers.RDrop", "init_args": {"alpha": 1.0}}
CASES = {
    "nothing": ("trainer.max_epochs", 3, []),
    "another type of the same number": ("model.init_args.regularizers.0.init_args.weight", 1.0, []),
    "a value": ("trainer.max_epochs", 5, ["trainer.max_epochs: 3 -> 5"]),
    "a flag for a number": (
        "model.init_args.regularizers.0.init_args.weight",
        True,
        ["model.init_args.regularizers.0.init_args.weight: 1 -> true"],
    ),
    "a nested value": (
        "model.init_args.optimizer.init_args.lr",
        0.2,
        ["model.init_args.optimizer.init_args.lr: 0.1 -> 0.2"],
    ),
    "a plain list": (
        "model.init_args.optimizer.init_args.betas",
        [0.8, 0.999],
        ["model.init_args.optimizer.init_args.betas: [0.9, 0.999] -> [0.8, 0.999]"],
    ),
    "another class": (
        "model.init_args.adapter",
        LORA,
        ["model.init_args.adapter: peft.LoraConfig -> peft.IA3Config"],
    ),
    "an entry more": (
        "model.init_args.regularizers",
        [CONFIG["model"]["init_args"]["regularizers"][0], RDROP],
        ["model.init_args.regularizers.1: (none) -> finelab.models.regularizers.RDrop"],
    ),
    "an entry less": ("trainer.callbacks", [], ["trainer.callbacks.0: a.Stop -> (none)"]),
    "a list for nothing": ("trainer.logger", False, ["trainer.logger: null -> false"]),
}


def replaced(key: str, value: object) -> dict:
    config = copy.deepcopy(CONFIG)
    *path, last = key.split(".")
    inner = config
    for name in path:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    inner[int(last) if isinstance(inner, list) else last] = value
    return config


@pytest.mark.parametrize("case", CASES)
def test_one_line_a_key(case):
    key, value, lines = CASES[case]
    assert [str(change) for change in changes(CONFIG, replaced(key, value))] == lines


def test_a_long_value_is_cut():
    (change,) = changes({"x": "a" * 500}, {"x": "b\n" * 300})
    assert len(str(change)) < 200 and "\n" not in str(change)


def test_a_name_that_only_one_has():
    assert [str(change) for change in changes({"a": 1}, {"a": 1, "b": 2})] == ["b: (none) -> 2"]


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("run.name", False),
        ("run.save_minutes", False),
        ("trainer.logger", False),
        ("trainer.logger.init_args.name", False),
        ("trainer.log_every_n_steps", False),
        ("trainer.enable_progress_bar", False),
        ("data.init_args.loader.num_workers", False),
        ("data.init_args.cache_dir", False),
        ("data.init_args.loader.bucketing", True),
        ("data.init_args.batch_size", True),
        ("trainer.devices", True),
        ("trainer.precision", True),
        ("trainer.max_epochs", True),
        ("trainer.callbacks.0.init_args.patience", True),
        ("seeds.train", True),
        ("monitor", True),
        ("evaluate_test", True),
    ],
)
def test_what_changes_numbers(key, counts):
    assert Change(key, "", "").changes_numbers is counts


@pytest.mark.parametrize(
    ("allowed", "is_allowed"),
    [
        ("model.init_args.optimizer.init_args.lr", True),
        ("model.optimizer.lr", True),
        ("model.optimizer.init_args.lr", True),
        ("model.init_args.optimizer.lr", True),
        ("model.optimizer.init_args", True),
        ("model.optimizer", True),
        ("model", True),
        ("model.init_args.optimizer.", True),
        ("model.optimizer.lrs", False),
        ("model.opt", False),
        ("trainer", False),
    ],
)
def test_a_beginning_allows_all_that_lies_below(allowed, is_allowed):
    assert Change("model.init_args.optimizer.init_args.lr", "1", "2").is_allowed(["x", allowed]) is is_allowed


@pytest.mark.parametrize(
    ("allowed", "is_allowed"),
    [
        ("trainer.callbacks.patience", True),
        ("trainer.callbacks.init_args.patience", True),
        ("trainer.callbacks.1.patience", True),
        ("trainer.callbacks+", True),
        ("trainer.callbacks.0.init_args.patience", False),
    ],
)
def test_a_position_is_that_entry_alone(allowed, is_allowed):
    assert Change("trainer.callbacks.1.init_args.patience", "1", "2").is_allowed([allowed]) is is_allowed


@pytest.mark.parametrize(
    ("allowed", "is_allowed"), [("model.adapter.class_path", True), ("model.adapter.init_args", False)]
)
def test_another_class_is_more_than_its_arguments(allowed, is_allowed):
    assert Change("model.init_args.adapter", "A", "B").is_allowed([allowed]) is is_allowed


NAMES = list(
    keys_of({"trainer": {"max_epochs": 2, "callbacks": [{"class_path": "A", "init_args": {"n": [1]}}], "x": {}}})
)


@pytest.mark.parametrize("key", ["trainer", "trainer.callbacks.n", "trainer.callbacks.0.init_args.n", "trainer.x"])
def test_a_key_of_the_configuration_is_known(key):
    require_known([key], NAMES)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("trainer.max_epoch", "did you mean trainer.max_epochs?"),
        ("max_epochs", "did you mean trainer.max_epochs?"),
        ("trainer.callbacks.init_args.m", "did you mean trainer.callbacks"),
        ("quite.another", "give one of config.yaml"),
    ],
)
def test_a_key_that_is_not_there_is_refused(key, hint):
    with pytest.raises(
        UserError, match=re.escape(f"--allow-change {key} on the command line") + ".*" + re.escape(hint)
    ):
        require_known(["trainer", key], NAMES)
