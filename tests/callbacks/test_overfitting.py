"""What is done about a verdict: the line, the curves, the stop, and that nothing else moves."""

import io
import math
import re
from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from finelab.callbacks import Baseline, BestCheckpoint, FinalEvaluation, Overfitting, Probes
from finelab.callbacks.evaluation import undisturbed, untouched_base
from finelab.callbacks.overfitting import _recipe, logged
from finelab.callbacks.results import Results
from finelab.contracts.errors import UserError
from finelab.contracts.verdict import Evidence, Verdict

from . import conftest as callback_tests
from .ranks import AS_RANKS, in_two_ranks


def memorising(classifier):
    """Learns ten times too fast; the rows say little about their labels."""
    return classifier(rate=0.5)


@pytest.fixture
def scripted(monkeypatch):
    """Verdicts to be given one after another, and how each was asked for."""

    def use(*labels: str) -> list[tuple[int, bool]]:
        asked = []

        def judge(series, settings, reference):
            asked.append((len(series), settings.finished))
            label = labels[min(len(asked), len(labels)) - 1]
            step = int(series.steps[-1])
            given = Evidence("given away", 0.25, 0.1, 0.4, "")
            return Verdict(label, f"{label.capitalize()} at last.", "nll", step, None, 0.25, [given])

        monkeypatch.setattr("finelab.callbacks.overfitting.judge", judge)
        return asked

    return use


def test_alone_in_a_plain_trainer(fit, classifier, data, capsys) -> None:
    watch = Overfitting()
    fit(classifier(), data(), [Probes(), watch], max_epochs=3)
    assert watch.verdict is not None and watch.verdict.step == 18
    assert {"given away", "worth mentioning"} <= {each.name for each in watch.verdict.evidence}
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("finelab: step")]
    assert said[-1] == f"finelab: step 18: {watch.verdict.sentence}"


def test_every_validation_is_judged_and_the_end_once_more(fit, classifier, data, scripted, tmp_path, capsys) -> None:
    asked = scripted("undecided", "healthy", "healthy", "overfitting")
    logger = CSVLogger(tmp_path / "log")
    fit(classifier(), data(), [Probes(), Overfitting()], max_epochs=3, logger=logger)
    assert asked == [(1, False), (2, False), (3, False), (3, True)]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("finelab:")]
    assert said == ["finelab: step 12: Healthy at last.", "finelab: step 18: Overfitting at last."]
    header, *rows = (tmp_path / "log/lightning_logs/version_0/metrics.csv").read_text().splitlines()
    place = header.split(",").index("verdict/label")
    assert [row.split(",")[place] for row in rows if row.split(",")[place]] == ["0.0", "0.0", "1.0"]


def test_the_last_weights_are_judged_where_no_validation_was_due(fit, classifier, data, scripted, tmp_path) -> None:
    asked = scripted("healthy")
    best = BestCheckpoint(tmp_path)
    fit(classifier(), data(), [Probes(), Overfitting(), FinalEvaluation(best=best), best], max_steps=8, max_epochs=-1)
    assert asked == [(1, False), (2, True)]
    asked.clear()
    fit(classifier(), data(), [Probes(), Overfitting(), BestCheckpoint(tmp_path)], max_steps=8, max_epochs=-1)
    assert asked == [(1, False), (2, True)]


@pytest.mark.parametrize("action", ["report", "stop", "restore"])
def test_actions(action: str, fit, classifier, data, scripted, flat, tmp_path) -> None:
    scripted("healthy", "overfitting")
    best, module = BestCheckpoint(tmp_path, monitor="val/nll"), memorising(classifier)
    trainer = fit(module, data(), [Probes(), Overfitting(action), best], max_epochs=4)
    assert trainer.global_step == (24 if action == "report" else 12)
    kept = memorising(classifier)
    kept.trainer = trainer
    kept.configure_model()
    kept.load_folder(tmp_path / "checkpoints/best")
    assert torch.equal(flat(module), flat(kept))


def test_no_draw_and_no_step_is_shifted(fit, classifier, data, flat) -> None:
    ends = []
    for callbacks in ([Probes()], [Probes(), Overfitting()]):
        module = classifier()
        fit(module, data(), callbacks, val_check_interval=2)
        ends.append(flat(module))
    assert torch.equal(*ends)


def test_it_goes_on_as_it_was(fit, classifier, data, scripted) -> None:
    scripted("overfitting")
    watch, again = Overfitting(), Overfitting()
    fit(classifier(), data(), [Probes(), watch])
    again.load_state_dict(torch.load(_saved(watch.state_dict()), weights_only=True))
    assert again.verdict == watch.verdict
    Overfitting().load_state_dict(Overfitting().state_dict())


def _saved(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return stream


def test_a_stop_and_a_resume_judge_alike(fit, classifier, data, tmp_path) -> None:
    """The verdict of a run in two pieces is that of the run in one."""
    whole, second = Overfitting(), Overfitting()
    fit(classifier(), data(), [Probes(), whole], max_epochs=3)
    trainer = fit(classifier(), data(), [Probes(), Overfitting()], max_epochs=2)
    trainer.save_checkpoint(tmp_path / "state.ckpt")
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    probes = Probes()
    resumed = L.Trainer(max_epochs=3, callbacks=[probes, second], num_sanity_val_steps=0, **settings)
    resumed.fit(classifier(), datamodule=data(), ckpt_path=tmp_path / "state.ckpt", weights_only=False)
    assert probes.steps == [6, 12, 18]
    assert second.verdict == whole.verdict


def test_references_come_from_the_baseline(fit, classifier, data, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("finelab.callbacks.overfitting.judge", lambda *given: seen.append(given) or _verdict())
    results = Results()
    fit(classifier(), data(), [Probes(), Overfitting(), Baseline(results)], max_epochs=1)
    before = results.before["validation"]
    assert seen[-1][2].name == "frozen-feature probe"
    assert seen[-1][2].loss == before["probe"]["nll"] and seen[-1][2].start == before["majority"]["nll"]
    assert (seen[-1][1].recipe.target, seen[-1][1].recipe.adapter) == ("SequenceClassifier", "PeftLora")
    fit(classifier(), data(), [Probes(), Overfitting(metric="accuracy"), Baseline(results)], max_epochs=1)
    assert seen[-1][2].loss == 1 - before["probe"]["accuracy"]


def test_a_reference_is_of_the_rows_that_are_judged(fit, classifier, data, monkeypatch) -> None:
    """A validation of two batches does not see all that the reference was evaluated on."""
    seen = []
    monkeypatch.setattr("finelab.callbacks.overfitting.judge", lambda *given: seen.append(given) or _verdict())
    results, probes, again = Results(), Probes(), Probes()
    module = classifier()
    fit(module, data(), [probes, Overfitting(), Baseline(results)], max_epochs=1, limit_val_batches=2)
    rows = [batch for index, batch in enumerate(data().val_dataloader()) if index < 2]
    with undisturbed(module), untouched_base(module):
        expected = torch.cat([results.references["probe"](batch).nll for batch in rows])
    assert len(probes.validation) == len(expected) == 8 < results.rows["validation"]
    assert seen[-1][2].loss == pytest.approx(expected.mean().item(), rel=1e-5)
    assert seen[-1][2].loss != pytest.approx(results.before["validation"]["probe"]["nll"], rel=1e-5)
    again.load_state_dict(torch.load(_saved(probes.state_dict()), weights_only=True))
    assert again.reference("probe")["nll"].tolist() == probes.reference("probe")["nll"].tolist()


def _verdict() -> Verdict:
    return Verdict("healthy", "Healthy.", "nll", 1, None, None)


def test_without_validation_it_says_so(fit, classifier, data) -> None:
    watch = Overfitting()
    fit(classifier(), data(), [Probes(), watch], limit_val_batches=0)
    assert watch.verdict is not None
    assert watch.verdict.sentence == "Undecided: there was no validation."


def test_one_validation_row_is_undecided(fit, classifier, data, monkeypatch) -> None:
    monkeypatch.setitem(callback_tests.ROWS, "validation", 1)
    watch = Overfitting()
    fit(classifier(), data(), [Probes(), watch], max_epochs=3)
    assert watch.verdict is not None and watch.verdict.label == "undecided"
    assert "there are 1 and 0" in watch.verdict.sentence


def test_one_validation_that_is_no_number(fit, classifier, data) -> None:
    """Of three: it is left out of what is judged, and no number of the verdict is none."""

    class Spoil(L.Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
            if trainer.current_epoch == 1 and batch_idx == 0:
                outputs["nll"][0] = float("inf")

    watch = Overfitting()
    fit(classifier(), data(), [Spoil(), Probes(), watch], max_epochs=3)
    verdict = watch.verdict
    assert verdict is not None and "evaluations" in verdict.missing
    assert all(math.isfinite(each.value) for each in verdict.evidence) and verdict.evidence


def test_an_adapter_that_lost_the_base_is_told(fit, classifier, data, monkeypatch) -> None:
    watch, module = Overfitting(), classifier()
    trainer = fit(module, data(), [Probes(), watch], max_epochs=1)
    assert not _recipe(trainer, module).base_lost
    monkeypatch.setattr(type(module.adapter), "base_is", "lost")
    assert _recipe(trainer, module).base_lost


def test_a_trial_run_is_not_judged(fit, classifier, data) -> None:
    watch = Overfitting()
    fit(classifier(), data(), [Probes(), watch], fast_dev_run=True)
    assert watch.verdict is None


def test_it_needs_probes_before_it(fit, classifier, data) -> None:
    for callbacks in ([Overfitting()], [Overfitting(), Probes()]):
        with pytest.raises(UserError, match=re.escape("add it there: [Probes(), Overfitting()]")):
            fit(classifier(), data(), callbacks)
    with pytest.raises(UserError, match="nothing in this trainer keeps them"):
        fit(classifier(), data(), [Probes(), Overfitting("restore")])
    with pytest.raises(UserError, match="above 0 and below 0.5"):
        Overfitting(alpha=0.5)


def test_what_is_logged() -> None:
    measured = {"gap": (0.2, 0.1, 0.3), "membership AUC": (0.7, 0.6, 0.8), "gap growth": (0.05, 0.0, 0.1)}
    evidence = [Evidence(name, *values, "") for name, values in measured.items()]
    evidence.append(Evidence("worth mentioning", 0.01, None, None, ""))
    verdict = Verdict("undecided", "", "nll", 1, None, None, evidence)
    assert logged(verdict) == {
        "gap/value": 0.2,
        "gap/low": 0.1,
        "gap/high": 0.3,
        "verdict/membership_auc": 0.7,
        "verdict/gap_growth": 0.05,
    }


class Noted(L.Callback):
    """Each rank leaves what it thinks."""

    def __init__(self, folder, watch: Overfitting) -> None:
        self.folder, self.watch = folder, watch

    def on_fit_end(self, trainer, pl_module) -> None:
        assert self.watch.verdict is not None
        said = f"{trainer.global_step} {self.watch.verdict.sentence}"
        (self.folder / f"rank-{trainer.global_rank}").write_text(said)


def test_two_ranks_stop_together(fit, classifier, data, scripted, tmp_path) -> None:
    """The first one judges; it alone would leave the other waiting for ever."""
    scripted("healthy", "overfitting")
    watch = Overfitting("stop")
    callbacks = [Probes(), watch, Noted(tmp_path, watch)]
    in_two_ranks(partial(fit, classifier(), data(batch_size=2), callbacks, max_epochs=4, **AS_RANKS))
    said = [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)]
    assert said == ["12 Overfitting at last."] * 2
