import math
import sys

import pytest

from finelab.data import PythonFunctions
from finelab.data.domains.functions import read_functions
from finelab.data.domains.overlap import near_pairs
from finelab.data.domains.python_functions import CHOICES, choices
from finelab.data.domains.stdlib_source import NEAR
from finelab.data.rejections import Rejections
from finelab.models.span_meter import spans

SPLITS = ("train", "validation", "test")
CODE = '''
class Reader:
    def close_all(self, path, *rest, mode="r"):
        """Close_all closes path with os.path.join() and read(), e.g. in mode 'r'.

        Raises ValueError or KeyError if rest is empty. See zipfile.ZipFile.open for the pathology.
        """
        # a comment
        for item in rest:
            if not item:
                raise ValueError

    def empty(self):
        """Only a docstring of some words."""

    def plain(self): return 1


def outer(value):
    """Return an inner function of the value given."""
    def inner(own):
        """Add own to the value of outer."""
        return value + own
    with open(value) as file: return inner
'''


@pytest.fixture
def functions(tmp_path):
    file = tmp_path / "reader.py"
    file.write_text(CODE)
    return {found.name: found for found in read_functions("reader", file)}


@pytest.fixture(scope="module")
def rows():
    source = PythonFunctions()
    return {split: list(source.read(split, Rejections("error"))) for split in SPLITS}


def test_documented_functions_with_a_body_are_found(functions):
    assert list(functions) == ["close_all", "outer", "inner"]
    found = functions["close_all"]
    assert found.where.endswith("reader.py:3")
    assert found.signature == "close_all(self, path, *rest, mode='r')"
    assert found.parameters == {"path", "rest", "mode"}
    assert found.body == "for item in rest:\n    if not item:\n        raise ValueError"
    assert found.log2_lines == math.log2(3)
    assert found.statements == ("branch", "loop", "raise")
    assert functions["outer"].statements == ("context manager", "return", "inner function")
    assert found.question.startswith("this closes path")


def test_what_is_code_in_a_docstring(functions):
    words, tags = functions["close_all"].tagged_words()
    found = [(span.kind, " ".join(words[span.start : span.end])) for span in spans(tags)]
    assert found == [
        ("PARAMETER", "path"),
        ("NAME", "os . path . join ( )"),
        ("NAME", "read ( )"),
        ("PARAMETER", "mode"),
        ("EXCEPTION", "ValueError"),
        ("EXCEPTION", "KeyError"),
        ("PARAMETER", "rest"),
        ("NAME", "zipfile . ZipFile . open"),
    ]
    assert "".join(words) == "".join(functions["close_all"].text.split())


def test_choices_hold_the_answer_and_names_of_the_same_file_first(functions):
    found = choices(functions["outer"], {"outer", "a", "b"}, {"outer", "a", "b", "c", "d", "e"})
    assert len(set(found)) == CHOICES
    assert {"outer", "a", "b"} < set(found)
    assert found == choices(functions["outer"], {"b", "a", "outer"}, {"e", "d", "c", "b", "a", "outer"})


def test_splits_share_no_file_and_no_text(rows):
    files = {split: {row.where.rpartition(":")[0] for row in found} for split, found in rows.items()}
    texts = {split: [row.fields["text"] for row in found] for split, found in rows.items()}
    for left, right in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not files[left] & files[right]
        assert not set(texts[left]) & set(texts[right])
    assert not list(near_pairs(texts["test"], texts["train"], NEAR))
    assert min(map(len, rows.values())) > 200


def test_every_row_has_every_column(rows):
    for row in rows["test"]:
        fields = row.fields
        assert len(fields["words"]) == len(fields["tags"]) > 0
        assert len(fields["choices"]) == CHOICES
        assert fields["choices"].count(fields["answer"]) == 1
        assert fields["log2_lines"] == math.log2(len(fields["body"].splitlines()))
        assert f" {fields['answer']} " not in f" {fields['question']} "
    assert len(rows["train"]) > 3000


def test_the_place_of_the_answer_says_nothing(rows):
    places = [row.fields["choices"].index(row.fields["answer"]) for row in rows["train"]]
    shares = [places.count(place) / len(places) for place in range(CHOICES)]
    assert all(abs(share - 1 / CHOICES) < 0.03 for share in shares), shares


def test_fewer_rows_are_some_of_all_and_another_data_set(rows):
    small = PythonFunctions(rows=50)
    found = [row.where for row in small.read("train", Rejections("error"))]
    every = [row.where for row in rows["train"]]
    assert len(found) == 50
    assert found == [where for where in every if where in set(found)]
    assert len(list(small.read("test", Rejections("error")))) == len(rows["test"])
    assert small.digest() != PythonFunctions().digest()


def test_nothing_is_imported():
    before = set(sys.modules)
    next(PythonFunctions(rows=1).read("train", Rejections("error")))
    assert not (set(sys.modules) - before) & {"turtle", "this", "antigravity", "tkinter"}
