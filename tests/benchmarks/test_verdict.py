"""The verdict's error rates on a few hundred simulated runs, and how they are counted."""

import json
from dataclasses import replace

import pytest
from verdict import Case, during_the_run, error_rates, main, rate, underfitting
from verdict_page import page

CASE = Case("0", "flat", "sound", False, True, 0.0, "healthy", (), 2, (10, 20, 30), 200, None, 0.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    file = tmp_path_factory.mktemp("verdict") / "verdict.json"
    content = main(["--simulate", "400", "--seed", "1", "--during", "10", "--output", str(file)])
    assert json.loads(file.read_text()) == content
    return content["simulated"]


def test_false_alarms_and_hits_of_400_runs(results):
    """The rates themselves, of 10,000 runs 0.013 and 0.933: an interval of so few runs lets twice the gate pass."""
    assert results["runs"] == 400
    assert results["false alarms"]["of"] >= 150 and results["false alarms"]["rate"] <= 0.04
    assert results["hits"]["of"] >= 150 and results["hits"]["rate"] >= 0.9
    assert results["hits that rows could show"]["rate"] >= 0.97


def test_the_page_has_what_was_counted(results):
    found = page({"simulated": results, "real": results})
    hits = results["hits"]
    assert found.count(f"{hits['count']} of {hits['of']})") >= 2
    assert "| rising late |" in found
    columns = [row.count("|") for row in found.split("\n\n")[0].splitlines()]
    assert set(columns) == {4}


def test_every_run_is_counted_once(results):
    labels = [sum(group["labels"].values()) for group in results["by group"].values()]
    assert labels == [80] * 5
    bands = sum(band["of"] for band in results["hits by effect"].values())
    assert bands == results["hits"]["of"]


def test_an_interval_is_clopper_and_pearson():
    """The rule of three, in its exact form: no event in n has the upper limit 1 - 0.025^(1/n)."""
    found = rate([CASE] * 40, lambda case: case.label == "overfitting")
    assert (found["count"], found["of"], found["low"]) == (0, 40, 0.0)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-4)


def test_nothing_to_count_is_missing():
    assert rate([], lambda case: True)["missing"]


def test_trifling_losses_are_neither_false_alarms_nor_hits():
    called = replace(CASE, truth="trifling", label="overfitting")
    found = error_rates([CASE, called, replace(CASE, truth="overfits")])
    assert found["false alarms"]["count"] == 0
    assert (found["hits"]["count"], found["hits"]["of"]) == (0, 1)
    assert (found["hits by the letter"]["count"], found["hits by the letter"]["of"]) == (1, 2)


def test_delay_counts_from_the_true_minimum():
    bad = replace(CASE, truth="overfits", best=0, alarms=(2,))
    early = replace(CASE, truth="overfits", best=1, alarms=(1,))
    found = during_the_run([bad, early, CASE])
    assert found["median delay in evaluations"] == 2
    assert found["median delay in steps"] == 20
    assert found["hits"]["count"] == found["alarms before the true minimum"]["count"] == 1
    assert found["false alarms at any evaluation"]["of"] == 1


def test_underfitting_is_told_from_healthy_both_ways():
    under = replace(CASE, underfits=True, learned=False, label="underfitting")
    found = underfitting([under, under, replace(under, label="healthy"), CASE, replace(CASE, label="underfitting")])
    assert found["found"]["rate"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["healthy not called so"]["rate"] == 0.5
