"""A cell's identity is its content; its folder's name is readable, safe and unique."""

import json
import random
import re

import pytest

from finelab.contracts.seeds import Seeds
from finelab.studies.cell import ID_LENGTH, Cell, identity, slug


def a_cell(**changes) -> Cell:
    own = {
        "id": "0123456789abcdef", "arm": "lora + rdrop", "task": None, "stage": "report", "replicate": 2, "trial": 0,
        "repeat": 0, "seeds": Seeds(3, 4, 5), "setting": {"model.optimizer.lr": 0.1}, "config": {"seeds": 1},
        "config_digest": "ab",
    }  # fmt: skip
    return Cell(**own | changes)


def test_the_order_of_keys_does_not_count_and_every_value_does():
    content = {"config": {"a": 1, "b": [1, {"c": 2.5}]}, "data": "d", "base": "e", "repeat": 0}
    assert identity(content) == identity(json.loads(json.dumps(dict(reversed(content.items())))))
    others = [content | {"repeat": 1}, content | {"data": "x"}, content | {"config": {"a": 1, "b": [1, {"c": 2.6}]}}]
    assert len({identity(each) for each in [content, *others]}) == 4
    assert re.fullmatch(f"[0-9a-f]{{{ID_LENGTH}}}", identity(content))


def test_a_number_that_is_none_has_no_identity():
    with pytest.raises(ValueError, match="Out of range float"):
        identity({"lr": float("nan")})


def test_a_cell_survives_json():
    cell = a_cell()
    assert Cell.of(json.loads(json.dumps(cell.as_dict()))) == cell


def test_folders_are_readable_and_safe():
    assert a_cell().folder_name == "lora-rdrop-report-2-0123456789abcdef"
    assert a_cell(task="trec", stage="tune", trial=1).folder_name == "trec-lora-rdrop-tune-t1-2-0123456789abcdef"
    assert a_cell(stage="noise", repeat=3).folder_name == "lora-rdrop-noise-2-again3-0123456789abcdef"
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(chr(draw.choice([*range(1, 300), 0x202E, 0x1F600])) for _ in range(draw.randrange(60)))
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}", slug(text)), text


def test_a_slug_has_no_dots_at_its_ends():
    assert slug("../..") == "arm" and slug("a/../b") == "a-..-b"
