"""The benchmarks run: both sides do the same, and the results are whole."""

import importlib.util
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from scipy.stats import binomtest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "peers.py"


def benchmarks():
    specification = importlib.util.spec_from_file_location("peers", SCRIPT)
    sys.modules["peers"] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.BENCHMARKS


BENCHMARKS = benchmarks()


def peers(*arguments: str, python: tuple[str, ...] = ()) -> str:
    done = subprocess.run([sys.executable, *python, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_help_needs_no_torch():
    said = peers("--help", python=("-X", "importtime"))
    assert "--repeats" in said
    assert "| torch" not in said


@pytest.mark.parametrize("file", sorted((SCRIPT.parent / "results").glob("peers-*.json")), ids=lambda file: file.stem)
def test_results_have_the_sides_of_their_benchmark(file):
    content = json.loads(file.read_text())
    sides = set(BENCHMARKS[file.stem.removeprefix("peers-")].sides)
    assert set(content["medians"]) == set(content["measurements"]) == sides


def test_generation_in_batches_wrote_the_same_texts_at_least_twice_as_fast():
    content = json.loads((SCRIPT.parent / "results" / "generation.json").read_text())
    for name, own in content["settings"].items():
        assert own["same_texts"] == f"{own['questions']} of {own['questions']}", name
        for clock, ratios in own["ratios"].items():
            medians = own["medians"][clock]
            assert ratios == {side: pytest.approx(medians["one by one"] / medians[side]) for side in ratios}
            assert min(ratios.values()) >= 2, (name, clock)


def counted(content) -> list[dict]:
    """Every count of something with its rate, wherever it stands."""
    if not isinstance(content, dict):
        return []
    own = [content] if content.keys() >= {"count", "of"} else []
    return own + [found for part in content.values() for found in counted(part)]


def test_the_verdicts_gates_are_held_and_its_rates_follow_from_its_counts():
    content = json.loads((SCRIPT.parent / "results" / "verdict.json").read_text())
    own = content["simulated"]
    assert own["gates"] == dict.fromkeys(("false alarms", "hits", "underfitting"), True)
    assert own["false alarms"]["high"] <= 0.05 and own["hits"]["low"] >= 0.9
    assert sum(sum(group["labels"].values()) for group in own["by group"].values()) == own["runs"] == 10_000
    rates = counted(content)
    assert len(rates) > 10
    for each in rates:
        if each["of"] == 0:
            assert each["missing"] and "rate" not in each
            continue
        ends = binomtest(each["count"], each["of"]).proportion_ci(0.95, "exact")
        assert [each["rate"], each["low"], each["high"]] == pytest.approx([each["count"] / each["of"], *ends], abs=6e-5)


@pytest.mark.slow
def test_generation_in_batches_and_one_by_one_are_timed(tmp_path, shared_data, shared_model, monkeypatch):
    assert shared_data("grimm_tales")
    monkeypatch.setenv("FINELAB_SHARED", str(shared_model("stories260K").parent.parent))
    file = tmp_path / "generation.json"
    options = ["--settings", "stories-tales", "--rows", "4", "--rounds", "1", "--output", str(file)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT.parent / "generation.py"), *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text())["settings"]["stories-tales"]["same_texts"] == "4 of 4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "base", "folder", "rows"),
    [("sst2", "tiny://bert", "sst2", 64), ("alpaca", "tiny://llama", "alpaca_demo", 80)],
)
def test_both_sides_train_the_same_rows(tmp_path, shared_data, task, base, folder, rows):
    benchmark = BENCHMARKS[task]
    if find_spec(benchmark.needs) is None:
        pytest.skip(f"{benchmark.needs} (extra: bench) is not installed")
    file = tmp_path / "peers.json"
    options = [task, "--base", base, "--rows", str(rows), "--repeats", "1", "--threads", "1"]
    shown = peers(*options, "--data", str(shared_data(folder)), "--output", str(file))
    content = json.loads(file.read_text())
    ours, theirs = (content["measurements"][side][0] for side in benchmark.sides)
    for same in ("examples", "steps", "supervised_tokens", "trainable_parameters"):
        assert ours[same] == theirs[same] > 0, "what a side counts is what its model was given"
    assert ours["examples"] == rows if task == "sst2" else ours["supervised_tokens"] > 10 * ours["examples"]
    assert ours["threads"] == theirs["threads"] == 1
    unit = f"{benchmark.unit}_per_second"
    assert content["ratios"][unit] == pytest.approx(ours[unit] / theirs[unit])
    assert f"{content['ratios'][unit]:.3f}" in shown
    assert str(shared_data(folder)) not in file.read_text()
    assert content["task"]["data"] == folder
