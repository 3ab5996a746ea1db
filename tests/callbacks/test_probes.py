"""The rows that a verdict is made of: the right ones, the right losses, and no trace in the run."""

import json

import lightning as L
import numpy as np
import pyarrow.parquet
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from finelab import data as finelab_data
from finelab.callbacks import Baseline, BestCheckpoint, FinalEvaluation, Overfitting, halves, probe_rows
from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.probes import Probes, probes_of
from finelab.callbacks.results import Results
from finelab.callbacks.standard import standard_callbacks
from finelab.contracts.errors import UserError
from finelab.data import TextDataModule


@pytest.fixture
def texts(tmp_path):
    """A data module on rows of text; every fourth one is long enough for several windows."""
    generator = np.random.default_rng(1)

    def words(count: int) -> str:
        return " ".join(generator.choice(["red", "blue", "green", "tea", "sea", "bee"], count))

    folder = tmp_path / "rows"
    folder.mkdir()
    for split, count in (("train", 40), ("validation", 24)):
        rows = [{"text": words(60 if i % 4 == 0 else 6), "label": ["low", "high"][i % 2]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(base: str, template, **options) -> TextDataModule:
        options = {"context": 64, "batch_size": 8, "cache_dir": str(tmp_path / "cache")} | options
        return TextDataModule(str(folder), template, base=base, **options)

    return make


def losses(module, loader) -> dict[int, tuple[float, int, float]]:
    found = {}
    with undisturbed(module):
        for batch in loader:
            columns = module.example_columns(module.score(batch), batch)
            for sample, nll, tokens, right in zip(
                *(columns[name] for name in ("sample_id", "nll", "tokens", "correct")), strict=True
            ):
                found[sample] = (nll, tokens, right)
    return found


def test_the_series_holds_the_losses_of_the_same_rows(texts, classifier, fit, tmp_path) -> None:
    data = texts("tiny://bert", finelab_data.Classification())
    probes, module = Probes(rows=16, directory=tmp_path / "run"), classifier()
    fit(module, data, [probes], max_epochs=3)
    series = probes.series
    assert series is not None and series.steps.tolist() == [5, 10, 15] and series.planned == 3
    assert series.travelled == pytest.approx([0.25, 0.5, 0.75])  # SGD at 0.05
    assert series.a.nll.shape[1] + series.b.nll.shape[1] == 24 and 0 < series.a.nll.shape[1] < 24
    assert series.train is not None and series.train.nll.shape == (3, 16)
    expected = losses(module, data.probe_loader(16))
    samples = probes.train.samples.tolist()
    assert samples == sorted(expected) and len(set(samples)) == 16
    assert series.train.nll[-1] == pytest.approx([expected[sample][0] for sample in samples], rel=1e-5)
    assert series.train.right is not None
    assert series.train.right[-1].tolist() == [expected[sample][2] for sample in samples]
    expected = losses(module, data.evaluation_loader("validation"))
    first = probes.validation.first_half
    own = [expected[sample][0] for sample in probes.validation.samples[first].tolist()]
    assert series.a.nll[-1] == pytest.approx(own, rel=1e-5)
    table = pyarrow.parquet.read_table(tmp_path / "run/predictions/probes/validation-00000015.parquet").to_pydict()
    assert table["nll"] == pytest.approx([expected[sample][0] for sample in table["sample_id"]], rel=1e-5)
    assert len(list((tmp_path / "run/predictions/probes").iterdir())) == 6
    assert probes.findings()["rows"] == {"train": 16, "val_a": int(first.sum()), "val_b": int((~first).sum())}


def test_windows_of_a_document_stand_in_one_half(texts, language_model, fit) -> None:
    data = texts("tiny://llama", finelab_data.Documents())
    probes = Probes()
    results = Results()
    trainer = fit(language_model(), data, [probes, Baseline(results)], max_epochs=1)
    assert probes_of(trainer) is probes
    series = probes.series
    assert series is not None and len(series.a.groups) + len(series.b.groups) > 24
    assert not set(series.a.groups) & set(series.b.groups)
    assert len(set(series.a.groups)) + len(set(series.b.groups)) == 24
    # The base's own losses of the same rows.
    total = sum(values.sum() for name, values in series.base.items() if name != "train")
    tokens = series.a.tokens.sum() + series.b.tokens.sum()
    assert total / tokens == pytest.approx(results.before["validation"]["base"]["nll"], rel=1e-5)
    assert series.train is not None and series.base["train"].shape == series.train.tokens.shape


def test_no_draw_of_training_is_shifted(texts, classifier, fit, flat) -> None:
    ends = []
    for callbacks in ([], [Probes(rows=7)]):
        module = classifier()
        fit(module, texts("tiny://bert", finelab_data.Classification()), callbacks, val_check_interval=2)
        ends.append(flat(module))
    assert torch.equal(*ends)


def test_the_last_weights_are_looked_at_where_no_validation_was_due(texts, classifier, fit, tmp_path) -> None:
    probes, best = Probes(), BestCheckpoint(tmp_path / "run")
    data = texts("tiny://bert", finelab_data.Classification())
    fit(classifier(), data, [probes, FinalEvaluation(best=best), best], max_steps=7, max_epochs=-1)
    assert probes.steps == [5, 7]
    assert probes.series is not None and probes.series.train is not None and len(probes.series.train.nll) == 2


def test_what_was_seen_travels_with_a_training_state(texts, classifier, fit) -> None:
    probes = Probes()
    fit(classifier(), texts("tiny://bert", finelab_data.Classification()), [probes])
    again = Probes()
    again.load_state_dict(probes.state_dict())
    one, other = probes.series, again.series
    assert one is not None and other is not None and other.steps.tolist() == one.steps.tolist()
    for name in ("a", "b", "train"):
        assert np.array_equal(getattr(one, name).nll, getattr(other, name).nll)
        assert np.array_equal(getattr(one, name).groups, getattr(other, name).groups)


def test_validation_rows_that_change_are_not_compared(classifier, data, fit) -> None:
    class Shuffled(data):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            shift = 100 * self.trainer.global_step if self.trainer.validating else 0
            return {**batch, "sample_id": batch["sample_id"] + shift}

    probes = Probes()
    with pytest.warns(UserWarning, match="saw other rows than the first one"):
        fit(classifier(), Shuffled(), [probes])
    assert probes.series is None and "other rows" in probes.findings()["missing"]


def test_rows_of_a_mixture_are_drawn_as_validation_has_them(tmp_path) -> None:
    from finelab.data.probe_rows import drawn, drawn_of_each

    found = drawn_of_each({"a": 100, "b": 50, "c": 10}, {"a": 10, "b": 30}, 20, seed=1)
    assert [sum(low <= row < high for row in found) for low, high in ((0, 100), (100, 150), (150, 160))] == [5, 15, 0]
    assert drawn(10, 4, 1).tolist() == sorted(set(drawn(10, 4, 1).tolist())) != drawn(10, 4, 2).tolist()
    assert drawn(3, 10, 1).tolist() == [0, 1, 2]


def test_the_files_hold_the_rows_that_are_kept(texts, classifier, fit, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(probe_rows, "MOST_ROWS", 7)
    probes = Probes(rows=5, directory=tmp_path / "run")
    fit(classifier(), texts("tiny://bert", finelab_data.Classification()), [probes], max_epochs=2)
    for step in (5, 10):
        file = tmp_path / f"run/predictions/probes/validation-{step:08d}.parquet"
        table = pyarrow.parquet.read_table(file).to_pydict()
        assert table["sample_id"] == probes.validation.samples.tolist() and len(table["sample_id"]) == 7


def test_the_halves_of_the_kept_rows_are_those_of_all(texts, classifier, fit, monkeypatch) -> None:
    ends = []
    for most in (18, 5_000):
        monkeypatch.setattr(probe_rows, "MOST_ROWS", most)
        monkeypatch.setattr(halves, "RANKED", 16)
        probes = Probes()
        fit(classifier(), texts("tiny://bert", finelab_data.Classification()), [probes], max_epochs=1)
        ends.append(dict(zip(probes.validation.samples.tolist(), probes.validation.first_half.tolist(), strict=True)))
    few, every = ends
    assert len(few) == 18 and len(every) == 24 and few.items() <= every.items()


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"val_check_interval": 4, "max_epochs": 3}, [4, 8, 14, 18, 24, 28]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None, "max_epochs": 2}, [4, 8, 12, 16, 20]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 5}, [20, 40]),
        ({"val_check_interval": 3, "max_epochs": -1, "max_steps": 14}, [3, 6, 9, 13]),
        ({"val_check_interval": 2, "accumulate_grad_batches": 4, "max_epochs": 2}, [0, 1, 2, 3, 4, 5, 6]),
        ({"max_epochs": 2, "limit_train_batches": 3}, [3, 6]),
        ({"max_epochs": -1, "max_time": {"hours": 1}}, None),
    ],
    ids=["epochs", "batches", "every other epoch", "steps", "accumulation", "limited", "unknown"],
)
@pytest.mark.parametrize("keeps", [True, False], ids=["best", "no best"])
def test_what_is_planned_is_what_comes(options, seen, keeps, texts, classifier, fit, tmp_path) -> None:
    probes = Probes(rows=0)
    best = [BestCheckpoint(tmp_path / "run")] if keeps else []
    stop = [] if seen else [StopsAt(12)]
    every = [probes, *stop, *best]
    trainer = fit(
        classifier(),
        texts("tiny://bert", finelab_data.Classification(), batch_size=4),
        every,
        limit_val_batches=1,
        **options,
    )
    assert probes.series is not None
    if seen is None:
        assert probes.series.planned == 0
        return
    expected = sorted({*seen, trainer.global_step}) if keeps else seen
    assert probes.series.steps.tolist() == expected and probes.series.planned == len(expected)


class StopsAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop |= trainer.global_step >= self.step


def test_an_average_is_measured_and_never_after_it_is_taken_back(texts, classifier, fit, run_of, tmp_path) -> None:
    """The end of a validation takes the average back, in the order of the callbacks."""

    def average() -> EMAWeightAveraging:
        return EMAWeightAveraging(decay=0.99, use_buffers=False)

    def data() -> TextDataModule:
        return texts("tiny://bert", finelab_data.Classification())

    with pytest.raises(UserError, match=r"EMAWeightAveraging stands before Probes.*\[Probes\(\), EMAWeightAveraging"):
        fit(classifier(), data(), [average(), Probes()])
    alone = Probes(rows=16)
    fit(classifier(rate=0.5), data(), [alone, average()])
    own, sentence = Probes(rows=16), Overfitting()
    listed = [average(), sentence, own]
    every = standard_callbacks(run_of(), listed)
    assert [each for each in every if each in listed] == [own, sentence, listed[0]]
    fit(classifier(rate=0.5), data(), every)
    one, other = alone.series, own.series
    assert one is not None and one.train is not None and other is not None and other.train is not None
    assert np.array_equal(one.train.nll, other.train.nll) and np.array_equal(one.a.nll, other.a.nll)


def test_a_loader_of_probes_starts_no_processes(texts) -> None:
    options = finelab_data.LoaderOptions(num_workers=2)
    data = texts("tiny://bert", finelab_data.Classification(), loader=options)
    data.setup("fit")
    assert data.probe_loader(4).num_workers == 0


def test_a_negative_number_of_rows_is_refused() -> None:
    with pytest.raises(UserError, match="rows is -3; .* 0 looks at none"):
        Probes(rows=-3)
