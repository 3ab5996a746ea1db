"""What the parts of a mixture are scored on, and what their classes mean."""

import re

import pytest

from finelab.contracts.errors import UserError
from finelab.data import Classification, MixtureDataModule
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions


@pytest.fixture
def file(write, rows):
    return lambda name, count=30, start=0: str(write(f"{name}.jsonl", rows(count, start)))


@pytest.fixture
def mixture(tokens):
    def make(sources, sets=None, template=None, **changes):
        eval_sets = {
            name: spec if isinstance(spec, SourceSpec) else SourceSpec(spec) for name, spec in (sets or {}).items()
        }
        sources = {name: SourceSpec(source) for name, source in sources.items()}
        template = template or Classification()
        return MixtureDataModule(sources, "tiny://bert", template, eval_sets, cache_dir=tokens, **changes)

    return make


def rows_of(data, split, name):
    [found] = [each for each in data.evaluation_sets(split) if each.name == name]
    return sum(len(batch["sample_id"]) for batch in found.loader)


def test_an_evaluation_set_without_a_split_is_refused_and_one_with_a_split_is_scored_whole(mixture, file):
    a, c = file("a"), file("c", 20, 100)
    with pytest.raises(UserError, match=r"eval_sets: c \(.*c.jsonl\) is given without a split. Write {test: FILE}"):
        mixture({"a": a}, {"c": c}).setup("fit")
    data = mixture({"a": a}, {"c": {"test": c}})
    assert rows_of(data, "test", "c") == 20
    assert data.report["unused"] == {"c": 0} and "neither trained on nor scored" not in data.render_report()


def test_splits_of_its_own_cut_an_evaluation_set_and_the_rest_is_reported(mixture, file):
    cut = SourceSpec(file("c", 20, 100), splits=Fractions(0, 0.4))
    data = mixture({"a": file("a")}, {"c": cut})
    assert rows_of(data, "test", "c") == 8
    assert data.report["unused"] == {"c": 12}
    assert re.search(r"neither trained on nor scored +c 12$", data.render_report(), re.MULTILINE)


def test_numbers_are_no_names_that_two_parts_share(mixture, write, rows, tokens):
    def numbered(name, start):
        return str(write(name, [{"text": row["text"], "label": row["label"]} for row in rows(30, start)]))

    a, b = numbered("a.jsonl", 0), numbered("b.jsonl", 50)
    with pytest.raises(UserError, match=r"classes of a and b are the numbers 0, 1, and nothing says"):
        mixture({"a": a, "b": b}).setup("fit")
    with pytest.raises(UserError, match=r"classes of a and c are the numbers 0, 1"):
        mixture({"a": a}, {"c": {"test": b}}).setup("fit")
    assert mixture({"a": a}).label_names == ["0", "1"]
    assert mixture({"a": a, "b": b}, template=Classification(names=["no", "yes"])).label_names == ["no", "yes"]


def test_held_out_texts_that_another_source_trains_on_are_warned_of(mixture, file):
    a, b = {"train": file("a"), "validation": file("v", 10, 60)}, {"train": file("b", 30, 55)}
    with pytest.warns(UserWarning, match=r"trained on in another source: validation of a in train of b 10\."):
        mixture({"a": a, "b": b}, splits=Fractions(0, 0)).setup("fit")
