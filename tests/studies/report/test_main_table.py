"""What the table of a study says of whom, in all three forms of it."""

import numpy as np
import pytest

from finelab.contracts.seeds import Seeds
from finelab.studies.analysis.analyse import analyse
from finelab.studies.report.dots import dots
from finelab.studies.report.forest import forest
from finelab.studies.report.main_table import main_table
from finelab.studies.report.markdown import as_markdown
from finelab.studies.report.results_csv import as_csv
from finelab.studies.report.tex import as_tex
from finelab.studies.study import Confirm, Factor, Level

from ..made_up import MadeUp, a_study, arms_of, planted

SCALES = {"trec": 1.0, "banking": 0.1, "stories": 0.01}
"""Of the scores on each data set; the last one is the one that a table must not take for all of them."""


def over_data_sets(folder, confirm: Confirm | None = None):
    """x is far ahead everywhere but on stories, where it is hardly."""
    tasks = Factor("data", tuple(Level(name, {}, "s:1") for name in SCALES))
    study = a_study(folder, ["none", "x"], 5, tasks="data", confirm=confirm)
    study = study.__class__(**{**vars(study), "factors": (*study.factors, tasks)})
    made, rng = MadeUp(study, arms_of(["none", "x"])), np.random.default_rng(0)
    seeds = [("report", each) for each in study.replicates]
    seeds += [("confirm", each) for each in confirm.seeds] if confirm else []
    for index, (stage, each) in enumerate(seeds):
        for task, scale in SCALES.items():
            luck = rng.normal()
            for arm in ("none", "x"):
                gain = (0.05 if task == "stories" else 6.0) if arm == "x" else 0.0
                value = scale * (10 + gain + luck + 0.3 * rng.normal())
                cell = made.cell(arm, index % 5, stage, seeds=each, task=task, setting={"lr": 1.0, "of": task})
                made.finish(cell, {"accuracy": value})
    return analyse(made.plan, made.results, made.unfinished)


def by_title(table, arm: str) -> dict[str, str]:
    (row,) = [row for row in table.rows if row.cells[0].split(" (")[0] == arm]
    return dict(zip((column.title for column in table.columns), row.cells, strict=True))


def test_a_row_over_data_sets_is_that_of_all_of_them(tmp_path) -> None:
    analysis = over_data_sets(tmp_path)
    table = main_table(analysis)
    (summary,) = analysis.tasks
    assert summary.conclusion == "better" and analysis.contrasts[-1].task == "stories"
    assert analysis.contrasts[-1].conclusion == "undecided"
    x, row = by_title(table, "x"), table.rows[1]
    assert x["conclusion"] == row.look == "better"
    assert x["difference to none (sd)"].startswith(f"+{summary.iqm.value:.1f}"[:3])
    assert x["seeds × data sets"] == "5 × 3"
    for task in SCALES:
        values = [p.value for p in analysis.arms[1].points["test/accuracy"] if p.task == task]
        assert float(x[task].split(" ")[0].replace(",", "")) == pytest.approx(np.mean(values), rel=0.05)
    notes = " ".join(table.notes)
    assert "5 seeds on each of 3 data sets" in notes and "n = 15" not in notes and "stratified sign flips" in notes
    for text in (as_markdown(analysis, table), as_tex(analysis, table)):
        assert "15 seeds" not in text and "p of the paired t test" not in text


def test_scores_over_data_sets_are_on_their_own_scales(tmp_path) -> None:
    none, x = over_data_sets(tmp_path).arms
    per_task = {t: [[p.value for p in a.points["test/accuracy"] if p.task == t] for a in (none, x)] for t in SCALES}
    expected = [np.mean([(np.mean(own[i]) - np.mean(own)) / np.std(own) for own in per_task.values()]) for i in (0, 1)]
    assert [arm.scores["test/accuracy"].value for arm in (none, x)] == pytest.approx(expected)
    assert x.scores["cost/training_seconds"].value == pytest.approx(x.points["cost/training_seconds"][0].value)
    assert x.setting == {"lr": 1.0} and x.settings["trec"] == {"lr": 1.0, "of": "trec"}


def test_figures_say_on_which_data_set(tmp_path) -> None:
    analysis = over_data_sets(tmp_path)
    drawing, seeds = forest(analysis), dots(analysis)
    assert drawing is not None and seeds is not None
    assert all(f"x on {task}: " in drawing.description for task in SCALES)
    assert all(f"x, {task}: " in seeds.description for task in SCALES)


FRESH = tuple(Seeds(seed, seed, seed) for seed in range(1001, 1006))


def confirmed(folder):
    """Screened: lucky and good ahead, both confirmed, and only good holds; bad is only screened."""
    made = planted(folder, {"none": 0.0, "lucky": 0.8, "good": 0.8, "bad": -0.8}, 5, confirm=Confirm(2, FRESH))
    rng = np.random.default_rng(1)
    for index, seeds in enumerate(FRESH):
        luck = 0.01 * rng.normal()
        for arm, gain in (("none", 0.0), ("lucky", 0.0), ("good", 0.1)):
            value = 0.5 + gain + luck + (0.004 * (index % 2 * 2 - 1) if arm == "lucky" else 0.01 * gain * index)
            made.finish(made.cell(arm, index, "confirm", seeds=seeds), {"accuracy": value, "nll": 1.0})
    return analyse(made.plan, made.results, made.unfinished)


def test_a_confirmed_study_shows_its_confirmation(tmp_path) -> None:
    analysis = confirmed(tmp_path)
    assert {c.arm: c.conclusion for c in analysis.contrasts if c.stage == "report"}["lucky"] == "better"
    table = main_table(analysis)
    lucky, good, bad = (by_title(table, name) for name in ("lucky", "good", "bad"))
    assert (lucky["cells"], lucky["conclusion"]) == ("fresh seeds", "undecided")
    fresh = [p.value for p in analysis.confirmed[1].points["test/accuracy"]]
    assert float(lucky["accuracy ↑"].split(" ")[0]) == pytest.approx(np.mean(fresh), abs=0.01)
    assert good["conclusion"] == "better" and good["adjusted p"] != "–"
    assert (bad["cells"], bad["adjusted p"], bad["conclusion"]) == ("screening", "–", "screening")
    assert bad["difference to none"] != "–"
    assert [row.cells[0] for row in table.rows if row.bold] == ["good"]
    assert [row.look for row in table.rows] == ["", "undecided", "better", ""]
    assert "screening" in as_tex(analysis, table) and "fresh seeds" in as_markdown(analysis, table)
    assert as_csv(analysis).count('"confirm"') == 15


def test_a_screening_before_its_confirmation_claims_nothing(tmp_path) -> None:
    made = planted(tmp_path, {"none": 0.0, "good": 0.8}, 5, confirm=Confirm(1, FRESH))
    analysis = analyse(made.plan, made.results, made.unfinished)
    table, drawing = main_table(analysis), forest(analysis)
    assert not any(row.bold or row.look for row in table.rows)
    assert by_title(table, "good")["conclusion"] == "screening" and by_title(table, "good")["adjusted p"] == "–"
    assert drawing is not None and "better" not in drawing.description and ", screening" in drawing.description


def test_screening_and_confirmation_over_data_sets(tmp_path) -> None:
    table = main_table(over_data_sets(tmp_path, Confirm(1, FRESH)))
    assert [row.cells[1:3] for row in table.rows] == [["fresh seeds", "5 × 3"]] * 2
    assert table.rows[1].look == "better"


def test_the_note_names_the_test_that_was_used(tmp_path) -> None:
    few, many = (planted(tmp_path / str(n), {"none": 0.0, "a": 0.8, "b": 0.1}, n) for n in (5, 8))
    for made, said in ((few, "p: paired t, Holm over 2 comparisons"), (many, "p: sign flips, max-T over 2")):
        notes = " ".join(main_table(analyse(made.plan, made.results)).notes)
        assert said in notes and "paired t test" not in notes and "adjusted by" not in notes
