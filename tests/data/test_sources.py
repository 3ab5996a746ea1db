import csv
import gzip
import io
import json

import pyarrow
import pyarrow.parquet
import pytest

from finelab.contracts.errors import UserError
from finelab.data.classification import Classification
from finelab.data.files import read_input
from finelab.data.rejections import BadRow, Rejections
from finelab.data.sources import FileSource, HubSource, as_source
from finelab.data.token_classification import TokenClassification

GOOD = {"text": "fine", "label": 0, "label_text": "no"}

BAD_LINES = {
    "cut off": (b'{"text": "a", "lab', "not valid JSON"),
    "no JSON": (b"hello", "not valid JSON"),
    "two objects": (b'{"text": "a"} {"text": "b"}', "not valid JSON"),
    "a list": (b'["a", 1]', "not a JSON object (list"),
    "a number": (b"3", "not a JSON object (int"),
    "null": (b"null", "not a JSON object (NoneType"),
    "not UTF-8": (b'{"text": "caf\xe9", "label": 1}', "not valid UTF-8 (byte 0xe9"),
    "too deep": (b"[" * 100_000, "nested too deeply"),
    "no text column": (b'{"txet": "a", "label": 1}', "no column 'text' (did you mean 'txet'?)"),
    "no label column": (b'{"text": "a", "labels": 1}', "no column 'label' (did you mean 'labels'?)"),
    "nothing at all": (b"{}", "no column 'text' (there are none)"),
    "text is a number": (b'{"text": 3, "label": 1}', "holds no text (int '3')"),
    "text is null": (b'{"text": null, "label": 1}', "holds no text (NoneType"),
    "text is a list": (b'{"text": ["a"], "label": 1}', "holds no text (list"),
    "empty text": (b'{"text": "", "label": 1}', "is empty"),
    "white space": (b'{"text": " \\n\\t", "label": 1}', "is empty"),
    "NUL": (b'{"text": "a\\u0000b", "label": 1}', "NUL character (at 2)"),
    "lone surrogate": (b'{"text": "ab\\ud800", "label": 1}', "lone surrogate at character 3"),
    "label is null": (b'{"text": "a", "label": null}', "neither a whole number nor a text (NoneType"),
    "label is a fraction": (b'{"text": "a", "label": 0.5}', "neither a whole number nor a text (float '0.5')"),
    "label is a truth value": (b'{"text": "a", "label": true}', "neither a whole number nor a text (bool"),
    "label is a list": (b'{"text": "a", "label": [1]}', "neither a whole number nor a text (list"),
    "label is empty": (b'{"text": "a", "label": ""}', "is empty"),
    "unlabelled": (b'{"text": "a", "label": -1}', "marks a row without a label (-1)"),
    "unknown label": (b'{"text": "a", "label": 7}', "unknown label 7 (names lists 2 classes"),
    "unknown name": (b'{"text": "a", "label": "maybe"}', "unknown label 'maybe' (names lists no, yes)"),
}


def read_all(file, policy="error"):
    """Rows through reader and template, as the data module does it."""
    rejections = Rejections(policy)
    template = Classification(names=["no", "yes"])
    kept = []
    for row in as_source(str(file)).read("train", rejections):
        try:
            kept.append(template.read(row.fields, labelled=True))
        except BadRow as error:
            rejections(row.where, str(error))
    return kept, rejections


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, case):
    line, reason = BAD_LINES[case]
    good = json.dumps(GOOD).encode()
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join([good, good, line, good]) + b"\n")
    with pytest.raises(UserError) as caught:
        read_all(file)
    assert f"{file}:3: " in str(caught.value)
    assert reason in str(caught.value)
    assert "on_bad_row: skip" in str(caught.value)

    kept, rejections = read_all(file, "skip")
    assert len(kept) == 3
    assert rejections.as_dict()["rows"] == 1
    assert rejections.listed[0].startswith(f"{file}:3: ")


def test_line_numbers_count_empty_lines_and_no_other_line_ends(tmp_path):
    file = tmp_path / "rows.jsonl"
    first = json.dumps(GOOD | {"text": "a\u2028b\u0085c"}, ensure_ascii=False)
    file.write_text("\ufeff" + first + "\n\n" + json.dumps(GOOD) + "\nbad\n", encoding="utf-8")
    kept, rejections = read_all(file, "skip")
    assert [row["text"] for row in kept] == ["a\u2028b\u0085c", "fine"]
    assert rejections.listed[0].startswith(f"{file}:4: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"a",1,2,3', "number of fields than the header (4, not 2)"),
        ("a", "number of fields than the header (1, not 2)"),
        ('"a" b,1', "not valid CSV"),
        (",1", "is empty"),
        ("a,", "is empty"),
        ("caf\udce9,1", "lone surrogate"),
    ],
)
def test_a_bad_csv_row_is_named_by_its_first_line(tmp_path, line, reason):
    file = tmp_path / "rows.csv"
    content = f'text,label\n"two\nlines",0\n{line}\nx,1\n'
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="rows.csv:4: ") as caught:
        read_all(file)
    assert reason in str(caught.value)
    kept, _ = read_all(file, "skip")
    assert [row["text"] for row in kept] == ["two\nlines", "x"]


def test_every_format_gives_the_same_rows(tmp_path, rows):
    expected = rows(7)
    lines = "".join(json.dumps(row) + "\n" for row in expected).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(expected), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(expected[0]))
        writer.writeheader()
        writer.writerows(expected)
    read = {suffix: read_all(tmp_path / f"a.{suffix}")[0] for suffix in ("jsonl", "jsonl.gz", "csv", "parquet")}
    assert len(read["jsonl"]) == 7
    assert read["jsonl"] == read["jsonl.gz"] == read["csv"] == read["parquet"]


def test_long_csv_fields_are_read_and_the_global_limit_is_restored(tmp_path):
    before = csv.field_size_limit()
    file = tmp_path / "a.csv"
    file.write_text(f"text,label\n{'x' * 300_000},1\n")
    assert len(read_all(file)[0][0]["text"]) == 300_000
    assert csv.field_size_limit() == before


def test_damaged_files_are_said_to_be_damaged(tmp_path):
    whole = gzip.compress(json.dumps(GOOD).encode() * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "none.parquet").write_bytes(b"no parquet")
    for name in ("cut.jsonl.gz", "none.jsonl.gz"):
        with pytest.raises(UserError, match="damaged gzip archive"):
            read_all(tmp_path / name, "skip")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_all(tmp_path / "none.parquet")


def test_a_folder_gives_its_splits_under_any_usual_name(write):
    folder = write("set/train.jsonl", [GOOD]).parent
    write("set/dev.jsonl", [GOOD])
    write("set/test.jsonl", [GOOD])
    write("set/train_noisy.jsonl", [GOOD])
    source = as_source(str(folder))
    assert source.splits() == ["train", "validation", "test"]
    write("set/val.jsonl", [GOOD])
    with pytest.raises(UserError, match=r"dev\.jsonl and val\.jsonl, both validation"):
        as_source(str(folder))


def test_files_by_split_take_aliases_and_refuse_other_keys(write):
    file = write("a.jsonl", [GOOD])
    assert as_source({"train": str(file), "valid": str(file)}).splits() == ["train", "validation"]
    with pytest.raises(UserError, match="did you mean train"):
        as_source({"trian": str(file)})


@pytest.mark.parametrize("wrong", ["trian.jsonl", "train.json"])
def test_a_missing_file_names_the_nearest_one(write, wrong):
    file = write("train.jsonl", [GOOD])
    with pytest.raises(UserError, match=r"Did you mean .*train\.jsonl\?"):
        as_source(str(file.parent / wrong))


def test_a_missing_folder_names_the_nearest_one(write):
    folder = write("sentiment/train.jsonl", [GOOD]).parent
    with pytest.raises(UserError, match=r"Did you mean .*sentiment\?"):
        as_source(str(folder.parent / "sentimint" / "train.jsonl"))


def test_a_folder_without_splits_and_an_unknown_ending_are_refused(tmp_path):
    (tmp_path / "rows.txt").write_text("a")
    with pytest.raises(UserError, match=r"holds no train, validation or test file.*rows\.txt"):
        as_source(str(tmp_path))
    with pytest.raises(UserError, match="ends in none of"):
        as_source(str(tmp_path / "rows.txt"))


def test_the_digest_is_of_content_and_not_of_place(write, rows):
    one = FileSource({"train": write("one/train.jsonl", rows(3))})
    two = FileSource({"train": write("two/other.jsonl", rows(3))})
    three = FileSource({"train": write("three/train.jsonl", rows(4))})
    as_test = FileSource({"test": two.files["train"]})
    assert one.digest() == two.digest()
    assert len({one.digest(), three.digest(), as_test.digest()}) == 3


def test_a_hub_id_is_told_from_a_path():
    assert isinstance(as_source("SetFit/sst2"), HubSource)
    assert isinstance(as_source("imdb@refs/convert"), HubSource)
    with pytest.raises(UserError, match="not there"):
        as_source("./SetFit/sst2")


def test_a_hub_data_set_that_cannot_be_had_is_one_paragraph():
    with pytest.raises(UserError, match="the hub gave no data set of that name"):
        as_source("nobody/has-this-data-set-here").splits()


def test_hub_lists_of_class_labels_bring_their_names(monkeypatch):
    import datasets

    tags = datasets.List(datasets.ClassLabel(names=["O", "B-X"]))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": tags})
    part = datasets.Dataset.from_dict({"tokens": [["a", "b"]], "tags": [[0, 1]]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda path, revision: datasets.DatasetDict({"train": part}))
    [row] = as_source("owner/name").read("train", Rejections("error"))
    assert row.fields["tags_text"] == ["O", "B-X"]
    assert TokenClassification().read(row.fields, labelled=True)["tags"] == ["O", "B-X"]


def test_hub_class_labels_bring_their_names_and_splits_their_aliases(monkeypatch):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features)
    asked = {}

    def load(path, revision):
        asked.update(path=path, revision=revision)
        return datasets.DatasetDict({"train": part, "dev": part, "extra": part})

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = as_source("owner/name@abc")
    assert source.splits() == ["train", "validation"]
    assert asked == {"path": "owner/name", "revision": "abc"}
    fields = [row.fields for row in source.read("validation", Rejections("error"))]
    assert fields[0] == {"text": "a", "label": 1, "label_text": "yes"}
    assert fields[1]["label_text"] is None
    assert len(source.digest()) == 32


@pytest.mark.parametrize(("content", "expected"), [('{"text": "a"}\n{"text": "b"}\n', 1), ("text\na\nb\n", 2)])
def test_standard_input_may_be_jsonl_or_csv(monkeypatch, content, expected):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    rows = list(read_input("-", Rejections("error")))
    assert [row.fields["text"] for row in rows] == ["a", "b"]
    assert rows[0].where == f"stdin:{expected}"
