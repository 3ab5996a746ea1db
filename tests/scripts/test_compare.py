"""Runs side by side, from records and per-example files that are written here."""

import csv
import dataclasses
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from scipy import stats

from finelab.contracts.order_trail import OrderTrail
from finelab.contracts.record import Best, Cost, Record, SplitResult, write_record
from finelab.contracts.verdict import Verdict
from finelab.scripts.cli import main
from finelab.scripts.comparison.sheet import Row
from finelab.scripts.comparison.sheets import apart
from finelab.scripts.comparison.terminal import style_of

from .test_startup import run

PROBE = {"probe": {"nll": 0.42, "accuracy": 0.81}}


def trail(steps: int, other_from: int | None = None) -> OrderTrail:
    found = OrderTrail()
    for step in range(steps):
        found.add(step, [step, step + 1 if other_from is None or step < other_from else step + 2])
    return found


def a_record(tuned: dict[str, float], order: OrderTrail, **changes) -> Record:
    record = Record(
        status="finished", started="2026-11-22T07:00:00+00:00", command=["finelab", "fit"],
        seeds={"data": 1, "init": 1, "train": 1}, config_digest="ab", base="tiny://bert",
        parameters={"trainable": 91_394, "total": 22_804_994},
        adapter={"name": "Bottleneck", "merges": False, "base_is": "off"}, data={"fingerprint": "f1"},
        metrics={"validation": SplitResult(200, PROBE, tuned)}, best=Best("val/accuracy", "max", 0.88, 40), history=[],
        examples={"validation-after": "predictions/validation-after.parquet"}, test_read=False,
        order_digest=order.digest, order_trail=order.as_dict(),
        cost=Cost(251.0, 187.4, 60, 0, 20_760, 20_760, 498_000, 1_500_000_000), versions={}, hardware={},
        verdict=Verdict("overfitting", "It overfits.", "nll", 60, 20, 0.12),
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def rows(seed: int, count: int = 200) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    correct = (rng.random(count) < 0.8).astype(float)
    own = {"nll": rng.gamma(2.0, 0.2, count).tolist(), "correct": correct.tolist(), "label": ["a", "b"] * (count // 2)}
    return {"sample_id": list(range(count)), "tokens": [1] * count, **own}


@pytest.fixture
def make(tmp_path: Path):
    """A finished run; without a record it was killed."""

    def run(name: str, seed: int = 0, record: Record | None = None, config: dict | None = None, columns=None) -> Path:
        folder = tmp_path / name
        (folder / "predictions").mkdir(parents=True)
        model = {"class_path": "finelab.models.SequenceClassifier", "init_args": {"optimizer": {"lr": 0.1}}}
        content = {"run": {"name": name}, "seeds": 1, "model": model, "trainer": {"logger": name}} | (config or {})
        (folder / "config.yaml").write_text("# finelab fit\n" + yaml.safe_dump(content))
        columns = columns or rows(seed)
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "predictions" / "validation-after.parquet")
        if record is not None:
            write_record(record, folder)
        return folder

    return run


@pytest.fixture
def two(make) -> list[Path]:
    first = a_record({"nll": 0.31, "accuracy": 0.88}, trail(60))
    tuned = {"nll": 0.29, "accuracy": 0.87, "perplexity": 2.0}
    metrics = {"validation": SplitResult(200, PROBE, tuned, {"ece": "there is one class only"})}
    second = a_record({}, trail(60, other_from=37), metrics=metrics, verdict=None)
    other = {"model": {"class_path": "finelab.models.SequenceClassifier", "init_args": {"optimizer": {"lr": 0.2}}}}
    return [make("one", 1, first), make("two", 2, second, other)]


def printed(capsys, *words: object, code: int = 0) -> str:
    assert main(["compare", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_two_runs_side_by_side(two, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = printed(capsys, *two)
    assert all(len(line.rstrip()) <= 100 for line in text.splitlines() if str(two[0].parent) not in line)
    found = [line.split() for line in text.splitlines()]
    start = next(i for i, line in enumerate(found) if line[:2] == ["accuracy", "↑"])
    assert [line[-2:] for line in found[start : start + 4]] == [["0.810", "0.810"], ["0.880", "0.870"],
                                                                ["+0.070", "+0.060"], ["–", "-0.010"]]  # fmt: skip
    assert ["verdict", "overfitting", "–"] in found and ["given", "away", "0.120", "–"] in found
    assert ["model.optimizer.lr", "0.1", "0.2"] in found
    assert "change no number: trainer.logger" in text and "run.name" not in text
    assert "parts at step 38" in text
    assert ["perplexity", "↓", "before", "–", "–"] in found and ["tuned", "–", "2.000"] in found
    assert "B: ECE: there is one class only." in text
    assert "2 draws, and a difference between two draws is no claim about the settings" in " ".join(text.split())


def test_the_interval_on_the_same_rows(two, capsys, tmp_path) -> None:
    target = tmp_path / "c.json"
    printed(capsys, *two, "--output", target)
    content = json.loads(target.read_text())
    first, second = rows(1), rows(2)
    for each in content["same_rows"]["B"]:
        key = {"accuracy": "correct", "nll": "nll"}[each["metric"]]
        d = np.array(second[key]) - np.array(first[key])
        low, high = stats.t.interval(0.95, len(d) - 1, d.mean(), d.std(ddof=1) / math.sqrt(len(d)))
        assert [each["difference"], each["low"], each["high"]] == pytest.approx([d.mean(), low, high])
        assert each["rows"] == each["clusters"] == 200
    assert [each["metric"] for each in content["same_rows"]["B"]] == ["accuracy", "nll"]
    assert content["conditions"]["B"] == {
        "order": "parts at step 38", "data": "same", "base": "same name", "seeds": "same"}  # fmt: skip
    assert content["runs"]["B"]["metrics"]["validation"]["missing"] == {"ece": "there is one class only"}
    assert content["settings_that_differ"] == {"model.init_args.optimizer.lr": {"A": "0.1", "B": "0.2"}}


def test_rows_that_do_not_match_are_not_compared(two, make, capsys) -> None:
    fewer = make("fewer", record=a_record({"nll": 1.0}, trail(60)), columns=rows(3, count=100))
    other = make("other", record=a_record({"nll": 1.0}, trail(60)), columns=rows(3) | {"label": ["b"] * 200})
    sorted_alike = make("alike", 3, a_record({"nll": 1.0}, trail(60), data={"fingerprint": "f2"}))
    text = printed(capsys, two[0], fewer, other, sorted_alike)
    assert "B: the files hold other rows." in text
    assert "C: the rows of one number are not the same (another label)." in text
    assert (
        "D: the fingerprints of their data do not agree, so that the rows cannot be told to be the same."
        in " ".join(text.split())
    ), "equal labels do not make equal rows"
    assert not any(line.strip().startswith("NLL ↓") and "[" in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"fingerprint": "f2"}}, "The rows, the template or the tokenizer of B are not those of A"),
        ({"base": "tiny://llama"}, "B started from another base than A"),
    ],
    ids=["data", "base"],
)
def test_what_does_not_belong_together_is_not_subtracted(changes, said, two, make, capsys) -> None:
    text = printed(capsys, two[0], make("other", 3, a_record({"nll": 0.4, "accuracy": 0.5}, trail(60), **changes)))
    lines = [line.split() for line in text.splitlines() if line.split()[:2] == ["−", "A"]]
    assert lines and all(line[2:] == ["–", "–"] for line in lines)
    assert said in " ".join(text.split())


def test_unfinished_and_failed_runs_are_shown_as_such(two, make, capsys) -> None:
    failed = a_record({}, trail(3), status="failed: memory", error={"type": "E", "message": "m"}, order_digest=None,
                      order_trail={}, metrics={"validation": SplitResult(200, PROBE, {})})  # fmt: skip
    text = printed(capsys, two[0], make("killed"), make("failed", record=failed))
    assert "stopped without a record" in text and "failed: memory" in text
    assert "B, C: no metrics of the tuned model." in text
    assert "Fewer than two of these runs are finished" in text


@pytest.mark.parametrize("count", [2, 4, 5, 20])
def test_any_number_of_runs_fits_the_terminal(count, make, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metrics = dict.fromkeys(["accuracy", "macro_f1", "nll", "ece", "bits_per_char", "perplexity"], 1234.5)
    long = {"model": {"class_path": "finelab.models.SequenceClassifier", "init_args": {"text": "x" * 300}}}
    runs = [make(f"r{i}", i, a_record(metrics, trail(60)), long if i else None) for i in range(count)]
    monkeypatch.chdir(runs[0].parent)
    text = printed(capsys, *(run.name for run in runs))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" in text and "x" * 81 not in text
    letters = [line.split()[0] for line in text.splitlines() if re.match(r"\s+[A-T]\s+finished", line)]
    assert len(letters) == (count if count > 4 else 0), "a line a run, or a column a run"


def test_only_seeds_differ(make, capsys) -> None:
    seeds = {"data": 1, "init": 2, "train": 3}
    first, second = (a_record({"nll": 1.0}, trail(60), seeds=s) for s in ({"data": 1, "init": 1, "train": 1}, seeds))
    text = " ".join(printed(capsys, make("a", 1, first), make("b", 2, second, {"seeds": seeds})).split())
    assert "another init and train seed" in text
    assert "Nothing but seeds differs" in text


def test_orders_that_end_at_different_steps(make, capsys) -> None:
    longer = dataclasses.replace(a_record({}, trail(60)).cost, steps=90)
    first, second = a_record({"nll": 1.0}, trail(60)), a_record({"nll": 1.0}, trail(90), cost=longer)
    assert "same up to step 60; one ended at 60" in " ".join(
        printed(capsys, make("a", 1, first), make("b", 2, second)).split()
    )


def test_a_page_and_a_spreadsheet_take_no_orders(make, tmp_path, capsys) -> None:
    """Neither Markdown, nor a formula, nor an escape sequence of the terminal."""
    evil = "=SUM(1)|<b>[bold]\x1b[31m\n# x"
    config = {"model": {"class_path": "finelab.models.X", "init_args": {"text": evil, "number": -1}}}
    plain = {"model": {"class_path": "finelab.models.X", "init_args": {"text": "-", "number": -2}}}
    runs = [
        make("a", 1, a_record({"nll": 1.0}, trail(60)), plain),
        make("b", 2, a_record({"nll": -1.0}, trail(60)), config),
    ]
    pages = [tmp_path / "c.md", tmp_path / "c.csv"]
    text = printed(capsys, *runs, "--output", pages[0], f"--output={pages[1]}")
    assert "\x1b[31m" not in text and "[bold]" in text
    markdown = pages[0].read_text()
    assert "\x1b" not in markdown and r"\|\<b\>\[bold\]" in markdown and "\n# x" not in markdown
    lines = list(csv.DictReader(io.StringIO(pages[1].read_text())))
    assert lines[1]["model.text"].startswith("'=SUM") and lines[0]["model.text"] == "'-"
    assert (lines[1]["model.number"], lines[1]["validation nll"]) == ("-1", "-1.0")
    assert lines[0]["validation accuracy of probe"] == "0.81" and lines[0]["verdict began"] == "20"


def test_long_values_that_differ_look_different() -> None:
    ends = ["a" * 60 + "1" + "b" * 60, "a" * 60 + "2" + "b" * 60]
    shown = apart(ends)
    assert len(set(shown)) == 2 and all(len(cell) <= 40 for cell in shown)
    assert apart(["finelab.models.adapters.Full", "peft.LoraConfig"]) == ["Full", "LoraConfig"]
    assert apart(["a.Full", "b.Full"]) == ["a.Full", "b.Full"]
    assert apart(["[a.b.X, c.Y]", "(none)"]) == ["[X, Y]", "(none)"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one"], "takes 2 to 20 runs, and 1 are given"),
        (["one", "one"], "one is named twice"),
        (["one", "onne"], "onne on the command line is no run: it does not exist; did you mean one?"),
        (["one", "."], "has neither record.json nor config.yaml"),
        (["one", "two", "--rows", "3"], "--rows on the command line is no option of compare"),
        (["one", "two", "--output"], "--output on the command line needs a value"),
        (["one", "two", "--output", "c.txt"], "c.txt on the command line must end in .json, .md or .csv"),
        (["one", "two", "--output", "no/c.md"], "no is missing"),
        (["one", "two", "--output", "one/c.md"], "lies in a run that is compared"),
    ],
    ids=str,
)
def test_what_is_refused(words, said, two, capsys, monkeypatch) -> None:
    monkeypatch.chdir(two[0].parent)
    assert said in printed(capsys, *words, code=2)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("record.json", "{}", "is missing"),
        ("record.json", '{"schema_version": 3}', "schema_version is 3"),
        ("config.yaml", "a: [", "cannot be read as YAML"),
        ("config.yaml", "- 1", "holds no configuration"),
        ("predictions/validation-after.parquet", "x", "cannot be read as Parquet"),
    ],
    ids=["record", "schema", "yaml", "list", "parquet"],
)
def test_damage_is_named(file, content, said, two, capsys) -> None:
    (two[1] / file).write_text(content)
    message = printed(capsys, *two, code=2)
    assert said in message and "\n" not in message.strip()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("sample_id", None, "it has no column sample_id"),
        ("sample_id", ["x"] * 200, "its column sample_id holds string"),
        ("tokens", ["one"] * 200, "its column tokens holds string"),
        ("tokens", [None] + [1] * 199, "its column tokens has rows that are no count"),
        ("nll", ["x"] * 200, "its column nll holds string"),
    ],
)
def test_damaged_columns_are_named(name, values, said, two, make, capsys) -> None:
    columns = rows(1) | {name: values}
    if values is None:
        del columns[name]
    path = make("damaged", record=a_record({"nll": 1.0}, trail(60)), columns=columns)
    message = printed(capsys, two[0], path, code=2)
    assert said in message and str(path / "predictions") in message and "\n" not in message.strip()


@pytest.mark.parametrize("value", [math.nan, math.inf, None], ids=str)
def test_a_metric_without_a_value_in_a_row_is_left_out(value, two, make, capsys, tmp_path) -> None:
    columns = rows(2)
    columns["nll"][3] = value
    target = tmp_path / "c.json"
    text = printed(
        capsys, two[0], make("hole", record=a_record({"nll": 1.0}, trail(60)), columns=columns), "--output", target
    )
    assert "B: NLL is left out: some rows have no finite value." in text and "+nan" not in text
    assert [each["metric"] for each in json.loads(target.read_text())["same_rows"]["B"]] == ["accuracy"]


def test_rows_without_tokens_have_no_difference(make, capsys) -> None:
    record = a_record({"nll": 1.0}, trail(60))
    runs = [make(f"r{seed}", record=record, columns=rows(seed) | {"tokens": [0] * 200}) for seed in (1, 2)]
    assert "B: NLL is left out: no row has a supervised token." in printed(capsys, *runs)


def test_a_record_with_holes_is_still_compared(two, make, capsys) -> None:
    holes = a_record({"nll": 1.0}, trail(60), parameters={}, order_trail={"z": [1]})
    text = printed(capsys, two[0], make("holes", 3, holes))
    assert "the trail in a record is damaged" in " ".join(text.split())
    assert next(line for line in text.splitlines() if "trained parameters" in line).split()[-1] == "–"


def test_names_in_a_run_give_no_orders_to_the_terminal(make, capsys, tmp_path) -> None:
    """Keys as well as values: of the configuration, harmless or not, of what is missing, of seeds."""
    evil = "\x1b[31mred\x9b"
    result = SplitResult(200, PROBE, {"nll": 1.0}, {f"m{evil}": f"r{evil}"})
    record = a_record({}, trail(60), metrics={"validation": result}, seeds={f"s{evil}": 1},
                      adapter={"name": f"a{evil}"})  # fmt: skip
    config = {"model": {f"k{evil}": 1}, "trainer": {f"logger{evil}": 2}, f"x{evil}": {f"y{evil}": 3}}
    target = tmp_path / "c.md"
    runs = [make("a", 1, a_record({"nll": 1.0}, trail(60))), make("b", 2, record, config)]
    text = printed(capsys, *runs, "--output", target)
    assert "\x1b" not in text + target.read_text() and "\x9b" not in text + target.read_text()
    assert "\\x1b[31mred" in text


def test_a_plugged_in_metric_is_compared(make, capsys, monkeypatch) -> None:
    runs = [
        make(
            f"r{i}",
            i,
            a_record({"nll": 1.0, "auroc": value, "other": 0.1}, trail(60), best=Best("val/auroc", "max", value, 9)),
        )
        for i, value in enumerate((0.5, 0.9))
    ]
    found = [line.split() for line in printed(capsys, *runs).splitlines()]
    start = next(i for i, line in enumerate(found) if line[:2] == ["auroc", "↑"])
    assert found[start + 3][-1] == "+0.400" and ["other", "before", "–", "–"] in found
    assert style_of(Row("auroc ↑", [], "gain"), "+0.400") == "green" and not style_of(Row("other", [], "gain"), "+0.4")


def test_without_files_beside_the_record(two, capsys) -> None:
    (two[1] / "config.yaml").unlink()
    (two[1] / "predictions" / "validation-after.parquet").unlink()
    text = printed(capsys, *two)
    assert "B: there is no config.yaml." in text and "B: there is no per-example file of the validation split." in text


def test_it_needs_no_torch(two) -> None:
    text, _ = run("compare", *map(str, two))
    assert "heavy: [] code: 0" in text
