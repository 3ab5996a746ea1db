"""A corpus of bad inputs: each is named with file and line, or file alone where it has no lines; none is lost."""

import gzip
import io
import json
import re

import pyarrow
import pyarrow.parquet
import pytest

from finelab.contracts.errors import UserError
from finelab.data import Classification, Messages, Regression, TextDataModule, TokenClassification
from finelab.data.files import without_repeats

GOOD = [{"text": f"row {n}", "label": n % 2} for n in range(12)]
LINES = [json.dumps(row).encode() for row in GOOD]


def jsonl(*lines, good=LINES):
    """Good lines, then the given ones from line 13 on."""
    return b"\n".join([*good, *lines]) + b"\n"


def sheet(*lines, header=b"text,label"):
    return b"\n".join([header, *(f"row {n},{n % 2}".encode() for n in range(12)), *lines]) + b"\n"


def table(**columns):
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


TEXTS, LABELS = [row["text"] for row in GOOD], [row["label"] for row in GOOD]
DEEP = b'{"text": ' + b"[" * 100_000
LONG = b'{"text": "' + b"a " * 5_000_000

# name -> content of train.jsonl, what the error says of line 13
JSON_ROWS = {
    "truncated JSON": (b'{"text": "a", "lab', "not valid JSON"),
    "10 MB line, truncated": (LONG, "not valid JSON"),
    "no JSON at all": (b"text label", "not valid JSON"),
    "two objects in a line": (b'{"text": "a", "label": 1} {"text": "b", "label": 1}', "not valid JSON"),
    "single quotes": (b"{'text': 'a', 'label': 1}", "not valid JSON"),
    "trailing comma": (b'{"text": "a", "label": 1,}', "not valid JSON"),
    "a raw control character": (b'{"text": "a\x02b", "label": 1}', "not valid JSON"),
    "a raw NUL": (b'{"text": "a\x00b", "label": 1}', "not valid JSON"),
    "a list": (b'["a", 1]', "not a JSON object"),
    "a list of rows": (b'[{"text": "a", "label": 1}]', "not a JSON object"),
    "a number": (b"17", "not a JSON object"),
    "a text": (b'"a"', "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "Latin-1": (b'{"text": "caf\xe9", "label": 1}', "not valid UTF-8"),
    "overlong UTF-8": (b'{"text": "\xc0\xaf", "label": 1}', "not valid UTF-8"),
    "a second byte order mark": (b'\xef\xbb\xbf{"text": "a", "label": 1}', "not valid JSON"),
    "nested too deep": (DEEP, "nested too deeply"),
    "a key twice": (b'{"text": "a", "text": "b", "label": 1}', "'text' stands twice"),
    "a number of 5,000 digits": (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "not usable JSON"),
    "no text column": (b'{"txt": "a", "label": 1}', "no column 'text'"),
    "an empty object": (b"{}", "no column 'text'"),
    "null text": (b'{"text": null, "label": 1}', "holds no text"),
    "number text": (b'{"text": 3.5, "label": 1}', "holds no text"),
    "list text": (b'{"text": ["a"], "label": 1}', "holds no text"),
    "object text": (b'{"text": {"a": 1}, "label": 1}', "holds no text"),
    "empty text": (b'{"text": "", "label": 1}', "is empty"),
    "white space text": (b'{"text": " \\t\\n\\u3000", "label": 1}', "is empty"),
    "only control characters": (b'{"text": "\\u0001\\u0002", "label": 1}', "no visible character"),
    "only a zero-width space": (b'{"text": "\\u200b", "label": 1}', "no visible character"),
    "an escaped NUL": (b'{"text": "a\\u0000b", "label": 1}', "NUL character"),
    "a lone surrogate": (b'{"text": "a\\udc80b", "label": 1}', "lone surrogate"),
    "no label": (b'{"text": "a"}', "no column 'label'"),
    "null label": (b'{"text": "a", "label": null}', "neither a whole number nor a text"),
    "float label": (b'{"text": "a", "label": 1.0}', "neither a whole number nor a text"),
    "NaN label": (b'{"text": "a", "label": NaN}', "neither a whole number nor a text"),
    "infinite label": (b'{"text": "a", "label": Infinity}', "neither a whole number nor a text"),
    "true label": (b'{"text": "a", "label": true}', "neither a whole number nor a text"),
    "list label": (b'{"text": "a", "label": [0]}', "neither a whole number nor a text"),
    "empty label": (b'{"text": "a", "label": ""}', "is empty"),
    "negative label": (b'{"text": "a", "label": -1}', "without a label"),
    "number label_text": (b'{"text": "a", "label": 1, "label_text": 5}', "holds no text"),
}
CSV_ROWS = {
    "too few fields": (b"a", "number of fields"),
    "too many fields": (b"a,1,2", "number of fields"),
    "another delimiter": (b"a;1", "number of fields"),
    "text behind a quote": (b'"a" b,1', "not valid CSV"),
    "a quote never closed": (b'"a,1', "not valid CSV"),
    "NUL in CSV": (b"a\x00b,1", "NUL character"),
    "Latin-1 in CSV": (b"caf\xe9,1", "lone surrogate"),
    "empty text in CSV": (b",1", "is empty"),
    "empty label in CSV": (b"a,", "is empty"),
}
PARQUET_ROWS = {
    "null in Parquet": (table(text=[*TEXTS, None], label=[*LABELS, 1]), "holds no text"),
    "bytes in Parquet": (table(text=[text.encode() for text in TEXTS], label=LABELS), "holds no text"),
    "floats in Parquet": (table(text=TEXTS, label=[float(label) for label in LABELS]), "neither a whole number"),
    "no such column in Parquet": (table(body=TEXTS, label=LABELS), "no column 'text'"),
}
WHOLE_PARQUET = table(text=TEXTS, label=LABELS)
# name -> files, what the error says; these are wrong as a whole
FILES = {
    "an empty file": ({"train.jsonl": b""}, "label(s) []"),
    "only empty lines": ({"train.jsonl": b"\n\n  \n"}, "label(s) []"),
    "one class": ({"train.jsonl": b'{"text": "a", "label": 1}\n' * 4}, "a classifier needs two"),
    "an empty CSV": ({"train.csv": b""}, "is empty"),
    "a header only": ({"train.csv": b"text,label\n"}, "label(s) []"),
    "a column twice": (
        {"train.csv": sheet(header=b"text,text,label")},
        "train.csv:1: the header names the column 'text'",
    ),
    "a header never closed": ({"train.csv": b'"text,label\na,1\n'}, "train.csv:1: the header is not valid CSV"),
    "UTF-16": ({"train.jsonl": jsonl().decode().encode("utf-16")}, "train.jsonl:1: not valid UTF-8"),
    "UTF-16 without mark": ({"train.jsonl": jsonl().decode().encode("utf-16-le")}, "train.jsonl:1: not valid JSON"),
    "UTF-16 in CSV": ({"train.csv": sheet().decode().encode("utf-16")}, "train.csv:"),
    "an array over several lines": (
        {"train.jsonl": json.dumps(GOOD, indent=1).encode()},
        "train.jsonl:1: not valid JSON",
    ),
    "gzip called JSONL": ({"train.jsonl": gzip.compress(jsonl())}, "train.jsonl:1: not valid UTF-8"),
    "JSONL called gzip": ({"train.jsonl.gz": jsonl()}, "damaged gzip"),
    "gzip cut off": ({"train.jsonl.gz": gzip.compress(jsonl() * 50)[:-40]}, "damaged gzip"),
    "an empty Parquet file": ({"train.parquet": b""}, "cannot be read as Parquet"),
    "Parquet cut off": ({"train.parquet": WHOLE_PARQUET[:-20]}, "cannot be read as Parquet"),
    "Parquet damaged": ({"train.parquet": WHOLE_PARQUET[:4] + b"\xff" * 60 + WHOLE_PARQUET[64:]}, "Parquet"),
    "JSONL called Parquet": ({"train.parquet": jsonl()}, "cannot be read as Parquet"),
    "an ending unknown": ({"train.json": jsonl()}, "no train, validation or test file"),
    "an empty folder": ({}, "no train, validation or test file"),
    "two files of one split": ({"val.jsonl": jsonl(), "dev.csv": sheet()}, "both validation"),
    "no training split": ({"test.jsonl": jsonl()}, "label(s) []"),
    "an empty test split": ({"train.jsonl": jsonl(), "test.jsonl": b""}, "test split has no supervised token"),
    "a label unseen in training": (
        {"train.jsonl": jsonl(), "test.jsonl": jsonl(b'{"text": "a", "label": 7}')},
        "test.jsonl:13: unknown label '7'",
    ),
    "two names of one label": (
        {"train.jsonl": jsonl(*(b'{"text": "a", "label": 1, "label_text": "%s"}' % name for name in (b"x", b"y")))},
        "must name the same classes",
    ),
    "one name of two labels": (
        {"train.jsonl": jsonl(*(b'{"text": "a", "label": %d, "label_text": "x"}' % label for label in (0, 1)))},
        "must name the same classes",
    ),
}


def module(folder, tokens, template=None, policy="error"):
    return TextDataModule(
        str(folder), template or Classification(), "tiny://bert", context=16, on_bad_row=policy, cache_dir=tokens
    )


def refuse(folder, tokens, template=None):
    with pytest.raises(UserError) as caught:
        _ = module(folder, tokens, template).report
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "rows"
    place.mkdir()
    return place


ROWS = {
    **{name: ("jsonl", 13, jsonl(line), said) for name, (line, said) in JSON_ROWS.items()},
    **{name: ("csv", 14, sheet(line), said) for name, (line, said) in CSV_ROWS.items()},
    **{name: ("parquet", None, content, said) for name, (content, said) in PARQUET_ROWS.items()},
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_named_by_file_and_line(folder, tokens, name):
    suffix, line, content, said = ROWS[name]
    (folder / f"train.{suffix}").write_bytes(content)
    message = refuse(folder, tokens)
    assert said in message
    assert re.search(rf"train\.{suffix}:{line or '[0-9]+'}: ", message), message


@pytest.mark.parametrize("name", [*JSON_ROWS, *CSV_ROWS])
def test_a_bad_row_that_is_skipped_is_counted_and_listed(folder, tokens, name):
    suffix, line, content, said = ROWS[name]
    (folder / f"train.{suffix}").write_bytes(content)
    report = module(folder, tokens, policy="skip").report
    dropped = [audit["dropped"] for audit in report["splits"].values()]
    assert sum(found["rows"] for found in dropped) == 1
    assert f"train.{suffix}:{line}: " in dropped[0]["first"][0] and said in dropped[0]["first"][0]
    assert sum(audit["rows"] for audit in report["splits"].values()) == 12


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named_or_refused(folder, tokens, name):
    files, said = FILES[name]
    for file, content in files.items():
        (folder / file).write_bytes(content)
    message = refuse(folder, tokens)
    assert said in message
    assert str(folder) in message or "must name the same classes" in message


def test_what_is_no_file_is_refused(folder, tokens):
    (folder / "train.jsonl").mkdir()
    assert "train.jsonl cannot be read" in refuse(folder, tokens)
    (folder / "train.jsonl").rmdir()
    (folder / "train.jsonl").symlink_to(folder / "nothing")
    assert "train.jsonl cannot be read" in refuse(folder, tokens)
    (folder / "train.jsonl").unlink()
    (folder / "train.jsonl").symlink_to("train.jsonl")
    assert "train.jsonl cannot be read" in refuse(folder, tokens)


def test_a_file_that_may_not_be_read_is_refused(folder, tokens, monkeypatch):
    from pathlib import Path

    (folder / "train.jsonl").write_bytes(jsonl())
    opened = Path.open

    def denied(path, *args, **kwargs):
        if path.name == "train.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    assert "train.jsonl cannot be read (Permission denied)" in refuse(folder, tokens)


def test_split_keys_and_endings_are_checked(folder, tokens):
    (folder / "rows.txt").write_bytes(jsonl())
    for source, said in (
        ({"trian": str(folder / "rows.txt")}, "did you mean train?"),
        ({"train": str(folder / "rows.txt")}, "ends in none of"),
        ({"train": str(folder / "rowz.txt")}, "not there"),
    ):
        with pytest.raises(UserError) as caught:
            _ = TextDataModule(source, Classification(), "tiny://bert", cache_dir=tokens).report
        assert said in str(caught.value)


TEMPLATES = {
    "an unknown role": (Messages(), {"messages": [{"role": "boss", "content": "a"}]}, "unknown role"),
    "no assistant": (Messages(), {"messages": [{"role": "user", "content": "a"}]}, "last turn is not the assistant's"),
    "no user": (Messages(), {"messages": [{"role": "assistant", "content": "a"}]}, "no turn is the user's"),
    "an empty turn": (
        Messages(),
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]},
        "is empty",
    ),
    "no list of turns": (Messages(), {"messages": "a"}, "no list of turns"),
    "no turns": (Messages(), {"messages": []}, "no list of turns"),
    "a turn that is a text": (Messages(), {"messages": ["a"]}, "no object"),
    "a target in words": (Regression(), {"text": "a", "target": "much"}, "holds no number"),
    "a target that is no number": (Regression(), {"text": "a", "target": float("nan")}, "not finite"),
    "fewer tags than words": (TokenClassification(), {"tokens": ["a", "b"], "tags": ["O"]}, "not of the same length"),
    "no words": (TokenClassification(), {"tokens": [], "tags": []}, "empty list"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_that_its_template_cannot_use_is_named(folder, tokens, name):
    template, row, said = TEMPLATES[name]
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    message = refuse(folder, tokens, template)
    assert "train.jsonl:1: " in message and said in message


HARMLESS = {
    "byte order mark": ("jsonl", b"\xef\xbb\xbf" + jsonl()),
    "CRLF": ("jsonl", jsonl().replace(b"\n", b"\r\n")),
    "no newline at the end": ("jsonl", jsonl().rstrip()),
    "empty lines between": ("jsonl", jsonl().replace(b"\n", b"\n\n")),
    "byte order mark in CSV": ("csv", b"\xef\xbb\xbf" + sheet()),
    "CRLF in CSV": ("csv", sheet().replace(b"\n", b"\r\n")),
    "empty lines in CSV": ("csv", sheet().replace(b"\n", b"\n\n")),
    "quotes in CSV": ("csv", re.sub(rb"row (\d+)", rb'"row \1"', sheet())),
    "columns that nobody asked for": ("jsonl", jsonl().replace(b'{"text"', b'{"x": [1, {"y": null}], "text"')),
    "two gzip members": (
        "jsonl.gz",
        gzip.compress(b"\n".join(LINES[:5]) + b"\n") + gzip.compress(b"\n".join(LINES[5:])),
    ),
    "Parquet": ("parquet", WHOLE_PARQUET),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_read_right(folder, name):
    from finelab.data.rejections import Rejections
    from finelab.data.sources import as_source

    suffix, content = HARMLESS[name]
    (folder / f"train.{suffix}").write_bytes(content)
    read = [row.fields for row in as_source(str(folder)).read("train", Rejections("error"))]
    assert [(row["text"], int(row["label"])) for row in read] == list(zip(TEXTS, LABELS, strict=True))


def test_a_line_of_10_mb_is_read_whole(folder):
    from finelab.data.rejections import Rejections
    from finelab.data.sources import as_source

    (folder / "train.jsonl").write_bytes(jsonl(LONG + b'", "label": 1}'))
    rows = list(as_source(str(folder)).read("train", Rejections("error")))
    assert len(rows) == 13 and len(rows[-1].fields["text"]) == 10_000_000


def test_odd_rows_that_can_be_used_are_reported_with_their_places(folder, tokens):
    odd = [
        b'{"text": "bell \\u0007", "label": 1, "id": 1}',
        b'{"text": "bad \\ufffd", "label": 1, "id": 1}',
        b'{"text": "' + b"w" * 300 + b'", "label": 1, "id": 2}',
        b'{"text": "row 0", "label": 1}',
    ]
    (folder / "train.jsonl").write_bytes(jsonl(*odd))
    report = module(folder, tokens).report
    found = {
        finding["name"]: finding["where"] for audit in report["splits"].values() for finding in audit["suspicious"]
    }
    lines = {name: [int(place.rpartition(":")[2]) for place in places] for name, places in found.items()}
    assert lines["control characters"] == [13]
    assert lines["replacement characters"] == [14]
    assert lines["a word of 200 characters or more"] == [15]
    assert lines["repeated id"] == [14]
    assert report["conflicts"]["texts"] == 1


def test_the_corpus_is_large_enough():
    assert len(ROWS) + len(FILES) + len(TEMPLATES) >= 60


def test_the_repeated_key_of_a_long_object_is_found_in_one_pass():
    """A search through all earlier keys for each of them would take hours."""
    pairs = [(f"key {number}", number) for number in range(200_000)]
    with pytest.raises(ValueError, match="'key 199999' stands twice"):
        without_repeats([*pairs, ("key 199999", 0)])
