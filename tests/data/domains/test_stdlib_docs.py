import ast
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from finelab.data import StdlibDocs
from finelab.data.domains import stdlib_source
from finelab.data.domains.areas import AREA_OF, AREAS, area_of
from finelab.data.domains.docstrings import MASK, mask_own_names, module_files, read_docstrings
from finelab.data.domains.overlap import shingles
from finelab.data.domains.stdlib_source import NEAR, StdlibSource, assign_files, measure_leak
from finelab.data.duplicates import text_key
from finelab.data.rejections import Rejections

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def source():
    return StdlibSource()


@pytest.fixture(scope="module")
def rows(source):
    return {split: [row.fields for row in source.read(split, Rejections("error"))] for split in SPLITS}


def test_the_table_has_ten_areas_and_each_module_once():
    assert len(AREAS) == 10
    assert sum(len(modules.split()) for modules in AREAS.values()) == len(AREA_OF)
    assert area_of("xml.etree.ElementTree") == "text and markup"
    assert area_of("antigravity") is None
    known = sys.stdlib_module_names
    present = {name for name in AREA_OF if name in known}
    assert len(present) > 150


def test_nothing_is_imported_or_run(tmp_path):
    canary = tmp_path / "ran"
    file = tmp_path / "wave.py"
    file.write_text(f'"""A module."""\nopen({str(canary)!r}, "w")\nraise SystemExit\n')
    [doc] = read_docstrings("wave", file)
    assert doc.text == "A module."
    assert not canary.exists()
    before = set(sys.modules)
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in ("turtle", "this", "antigravity", "poplib"):
        list(read_docstrings(name, root / f"{name}.py"))
    assert not (set(sys.modules) - before) & {"turtle", "this", "antigravity", "poplib", "tkinter"}


def test_all_docstrings_of_a_file_are_found():
    root = Path(sysconfig.get_paths()["stdlib"])
    for name in ("tarfile", "threading", "argparse"):
        tree = ast.parse((root / f"{name}.py").read_bytes())
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        expected = Counter(
            mask_own_names(text, name)
            for node in ast.walk(tree)
            if isinstance(node, kinds) and (text := ast.get_docstring(node))
        )
        assert Counter(doc.text for doc in read_docstrings(name, root / f"{name}.py")) == expected


def test_test_suites_are_left_out():
    root = Path(sysconfig.get_paths()["stdlib"])
    files = module_files(root, ["unittest", "tkinter", "json"])
    assert "json" in files and "json.decoder" in files
    assert not any("test" in name.split(".") for name in files)


def test_own_names_are_masked_in_any_case():
    text = "ZipFile: see zipfile.ZipFile, ZIPFILE and zipfiles, my_zipfile."
    assert mask_own_names(text, "zipfile") == f"{MASK}: see {MASK}.{MASK}, {MASK} and zipfiles, my_{MASK}."
    assert mask_own_names("An email.message, a Message by email", "email.message") == f"An {MASK}, a {MASK} by {MASK}"
    assert mask_own_names("Decimal in _pydecimal", "_pydecimal") == f"{MASK} in {MASK}"


def test_every_area_is_in_every_split_and_no_file_in_two(source):
    splits, _ = source._documents
    files = {split: {doc.where.rpartition(":")[0] for doc in docs} for split, docs in splits.items()}
    assert not files["train"] & files["test"]
    assert not files["train"] & files["validation"]
    assert not files["validation"] & files["test"]
    for docs in splits.values():
        assert {area_of(doc.module) for doc in docs} == set(AREAS)


def test_the_sizes_are_fit_for_a_macro_average(rows):
    sizes = {split: len(own) for split, own in rows.items()}
    assert 4500 < sizes["train"] < 6500
    assert sizes["validation"] > 450 and sizes["test"] > 450
    for split, least in (("train", 200), ("validation", 20), ("test", 20)):
        counts = Counter(row["label"] for row in rows[split])
        assert min(counts.values()) >= least
        assert max(counts.values()) < 0.25 * sizes[split]


def test_the_assignment_is_the_same_every_time_and_stands_by_itself():
    sizes = {"json": 10, "json.decoder": 40, "email": 30, "mailbox": 200, "base64": 20, "quopri": 25}
    first = assign_files(sizes)
    assert assign_files(dict(reversed(sizes.items()))) == first
    assert set(first.values()) == set(SPLITS)
    assert first["mailbox"] == "train"


def test_no_duplicate_is_left_across_splits(rows):
    keys = {split: [text_key(row["text"]) for row in own] for split, own in rows.items()}
    every = [key for own in keys.values() for key in own]
    assert len(every) == len(set(every))
    held_out = [shingles(row["text"], 5) for split in ("validation", "test") for row in rows[split]]
    train = [shingles(row["text"], 5) for row in rows["train"]]
    for own in held_out[::40]:
        assert max(len(own & other) / len(own | other) for other in train) < NEAR


def test_short_docstrings_are_dropped(rows):
    assert min(len(row["text"].split()) for own in rows.values() for row in own) >= 5


def test_the_leak_is_small_and_stated(source):
    splits, _ = source._documents
    leak = measure_leak(splits)
    assert leak["majority"] < 0.15
    assert leak["rule"] < 0.35
    assert leak["named"] < 0.30
    assert f"{leak['rule']:.1%}" in source.details()["name leak"]


def test_masking_is_what_keeps_the_leak_small(monkeypatch, source):
    masked = measure_leak(source._documents[0])
    monkeypatch.setattr("finelab.data.domains.docstrings.mask_own_names", lambda text, module: text)
    bare = measure_leak(stdlib_source.StdlibSource()._documents[0])
    assert bare["rule"] > masked["rule"] + 0.05


def test_a_bare_class_path_is_enough_and_the_second_start_is_fast(tokens, source):
    import time

    data = StdlibDocs(base="tiny://bert", cache_dir=tokens)
    assert sorted(data.label_names or []) == sorted(AREAS)
    assert data.report["splits"]["train"]["rows"] == len(source._documents[0]["train"])
    start = time.process_time()
    again = StdlibDocs(base="tiny://bert", cache_dir=tokens)
    again.setup("fit")
    batch = next(iter(again.train_dataloader()))
    assert time.process_time() - start < 2
    assert batch["input_ids"].shape[0] == 32
    assert again.report["cache"] == "tokens cached"
    lines = again.render_report().splitlines()
    assert len(lines) <= 19
    assert max(map(len, lines)) <= 100
    assert any("name leak" in line for line in lines)
    assert again.fingerprint == StdlibDocs(base="tiny://llama", seed=5, cache_dir=tokens).fingerprint
