"""The simulation in short, and that its results are whole."""

import json

from study_statistics import ARMS, EFFECTS, NOISES, PARTS, POWERED, REPLICATES, RESULTS, check


def test_short_form_holds_its_promises() -> None:
    results = {name: PARTS[name][0](400) for name in ("null studies", "power", "equivalence")}
    assert check(results) == []


def test_rows_alone_and_seeds_alone_are_too_sure() -> None:
    rows = PARTS["seeds and rows"][0](60)
    worst = {name: min(row[name]["share"] for row in rows) for name in ("two_way", "rows alone", "seeds alone")}
    assert worst["two_way"] > 0.85 > max(worst["rows alone"], worst["seeds alone"])


def test_what_is_wrong_is_said() -> None:
    row = {"noise": "normal", "n": 3, "arms": 4, "coverage": {"share": 0.90, "of": 20_000}}
    high, low = ({"share": share, "of": 20_000} for share in (0.08, 0.02))
    assert check({"null studies": [row | {"t and Holm": low}]}) == ["null, n = 3, 4 arms: coverage: 0.9000, not 0.95"]
    assert len(check({"null studies": [row | {"t and Holm": high}]})) == 2
    assert check({"power": [{"effect": 1.0, "n": 5, "formula": 0.4, "found": high}]})


def test_results_are_whole() -> None:
    results = json.loads(RESULTS.read_text())
    assert results["failed"] == check(results) == []
    assert [len(results[name]) for name in ("null studies", "power")] == [
        len(NOISES) * len(REPLICATES) * len(ARMS),
        len(EFFECTS) * len(POWERED),
    ]
    assert {row["t and Holm"]["of"] for row in results["null studies"]} == {20_000} and set(results) <= {
        *PARTS,
        "failed",
    }
