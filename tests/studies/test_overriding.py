"""Overrides put onto a configuration."""

import pytest

from finelab.studies.overriding import NoPlace, look_up, overridden

BASE = {
    "model": {
        "class_path": "M",
        "init_args": {
            "adapter": {"class_path": "Lora", "init_args": {"r": 8, "alpha": 16}},
            "regularizers": [{"class_path": "A", "init_args": {"weight": 1.0}}, {"class_path": "B"}],
            "optimizer": "torch.optim.AdamW",
        },
    },
    "trainer": {"max_steps": 5, "callbacks": []},
}


def model(config: dict) -> dict:
    return config["model"]["init_args"]


@pytest.mark.parametrize("key", ["model.adapter.r", "model.init_args.adapter.init_args.r", "model.adapter.init_args.r"])
def test_init_args_may_be_left_out(key):
    changed = overridden(BASE, {key: 2})
    assert model(changed)["adapter"] == {"class_path": "Lora", "init_args": {"r": 2, "alpha": 16}}
    assert look_up(changed, key) == 2 and look_up(BASE, key) == 8, "the configuration given is left as it is"


@pytest.mark.parametrize(
    "overrides",
    [
        {"model.adapter": {"class_path": "Lora", "init_args": {"r": 2}}},
        {"model.adapter.class_path": "Lora", "model.adapter.r": 2},
        {"model.adapter": "x.Lora", "model.adapter.r": 2},
    ],
    ids=["mapping", "class_path", "path alone"],
)
def test_a_class_replaces_the_class_whole(overrides):
    assert model(overridden(BASE, overrides))["adapter"]["init_args"] == {"r": 2}


def test_a_mapping_without_a_class_is_merged_into_one():
    changed = overridden(BASE, {"model.adapter": {"r": 2}, "trainer": {"max_steps": 9}})
    assert model(changed)["adapter"]["init_args"] == {"r": 2, "alpha": 16}
    assert changed["trainer"] == {"max_steps": 9, "callbacks": []}
    changed = overridden(BASE, {"model": {"init_args": {"adapter": {"class_path": "Full"}}}})
    assert model(changed) == {**model(BASE), "adapter": {"class_path": "Full"}}


def test_any_other_value_is_replaced():
    assert overridden({"data": {"sources": {"a": 1}}}, {"data.sources": {"b": 2}}) == {"data": {"sources": {"b": 2}}}
    assert model(overridden(BASE, {"model.regularizers": []}))["regularizers"] == []


def test_lists_are_appended_to_and_entered():
    more = overridden(BASE, {"model.regularizers+": [{"class_path": "C"}], "model.regularizers.0.weight": 3})
    assert [each["class_path"] for each in model(more)["regularizers"]] == ["A", "B", "C"]
    assert model(more)["regularizers"][0]["init_args"]["weight"] == 3
    assert model(overridden(BASE, {"model.new+": {"class_path": "C"}}))["new"] == [{"class_path": "C"}]


@pytest.mark.parametrize(
    ("key", "said"),
    [("trainer.max_steps.x", "trainer.max_steps is 5"), ("model.regularizers.7.weight", "a list of 2")],
)
def test_a_key_that_leads_nowhere(key, said):
    with pytest.raises(NoPlace, match=said):
        overridden(BASE, {key: 1})
    with pytest.raises(NoPlace):
        look_up(BASE, key)
