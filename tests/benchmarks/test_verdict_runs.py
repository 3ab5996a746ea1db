"""Real runs of the verdict's benchmark: what is recorded, what is true, and that cached features change nothing."""

import functools
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
import verdict_runs
from verdict_recipes import Recipe, plan
from verdict_runs import Cache, CachedFeatures, Recorder, add_features, keep, loader_of
from verdict_truth import RealTruth, load, paired_error, truth_of

from finelab.callbacks.evidence.probe_series import ProbeSet
from finelab.models import SequenceClassifier
from finelab.models.adapters import LinearProbe

RECIPE = Recipe("one", "made up", "made up", "LinearProbe", 24, 16, 40, 0.1, 12, 4, 3, batch=8)


def samples(count, seed):
    random = np.random.default_rng(seed)
    ids = [random.integers(5, 250, random.integers(4, 12)) for _ in range(count)]
    labels = [int(own.sum()) % 2 for own in ids]
    return [
        {"sample_id": i, "source_id": 0, "input_ids": own, "labels": label, "group": i}
        for i, (own, label) in enumerate(zip(ids, labels, strict=True))
    ]


@pytest.fixture
def base(monkeypatch):
    monkeypatch.setattr(verdict_runs, "MINILM", "tiny://bert")
    return "tiny://bert"


def weights(kind, base, rows, **options):
    """Of the head, after three steps."""
    make = functools.partial(torch.optim.AdamW, lr=0.1)
    module = kind(base, LinearProbe(), make, labels=["a", "b"], head_dropout=0.0, **options)
    module.configure_model()
    for part in module.modules():  # the features are those of eval mode
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_steps=3, accelerator="cpu", enable_model_summary=False, **silent)
    trainer.fit(module, loader_of(rows, 8, seed=2))
    return torch.cat([p.detach().flatten() for p in module.head.parameters()])


def test_cached_features_train_the_head_of_a_linear_probe_without_dropout(base):
    rows, cache = samples(24, 0), {}
    plain = weights(SequenceClassifier, base, rows)
    add_features(rows, cache)
    assert len(cache) == 24
    assert torch.allclose(weights(CachedFeatures, base, rows), plain, atol=1e-5)


def test_a_run_is_recorded_whole(base, monkeypatch, tmp_path):
    parts = {"train": samples(24, 0), "validation": samples(16, 1), "large": samples(40, 2)}
    monkeypatch.setattr(verdict_runs, "rows_of", lambda shared, recipe: (parts, ["a", "b"]))
    cache: Cache = {}
    found = verdict_runs.train(RECIPE, tmp_path, cache)
    assert found["steps"].tolist() == [3, 6, 9, 12]
    assert np.all(np.diff(found["travelled"]) > 0)
    assert found["nll_train"].shape == (4, 16), "the train probe is as large as validation"
    assert found["nll_large"].shape == (4, 40)
    assert found["base_large"].mean() == pytest.approx(np.log(2), abs=0.1), "an untrained head"
    keep(tmp_path / "one.npz", found)
    run = load(tmp_path / "one.npz")
    assert len(run.series.a.tokens) == len(run.series.b.tokens) == 8
    assert run.series.base == {}, "a fresh head's base says nothing"
    assert np.array_equal(run.large.nll, found["nll_large"])
    assert isinstance(truth_of(run, {}), RealTruth)


def test_truth_is_measured(base, monkeypatch, tmp_path):
    """A loss that rises on the untouched rows, and the same where it falls."""
    falling = np.linspace(1.0, 0.5, 4)[:, None] + np.random.default_rng(0).normal(0, 0.01, (4, 400))
    ones, ids = np.ones(400), np.arange(400)
    rows = ProbeSet(falling, ones, ones[None].repeat(4, 0), ids)
    run = type("Run", (), {"large": rows, "twin": "", "group": "made up"})
    assert not truth_of(run, {}).overfits  # pyright: ignore[reportArgumentType]
    run.large = replace(rows, nll=falling[::-1].copy())
    found = truth_of(run, {})  # pyright: ignore[reportArgumentType]
    assert found.overfits and found.best == 0
    assert found.lost == pytest.approx(0.5, abs=0.01)
    assert found.error == pytest.approx(0.01 * 2**0.5 / 20, rel=0.1)


def test_the_error_counts_documents():
    """Rows that are copies of each other are one row."""
    own = np.random.default_rng(1).normal(size=(2, 50))
    once = ProbeSet(own, np.ones(50), None, np.arange(50))
    twice = ProbeSet(own.repeat(2, 1), np.ones(100), None, np.arange(50).repeat(2))
    assert paired_error(twice, 1, 0) == pytest.approx(paired_error(once, 1, 0))


def test_seeds_of_development_and_report_differ():
    dev, report = ({recipe.seed for recipe in plan(part)} for part in ("dev", "report"))
    assert not dev & report
    assert all(len({recipe.name for recipe in plan(part)}) == len(plan(part)) for part in ("dev", "report"))


def test_recorder_draws_nothing(base):
    """The same weights with and without it."""
    rows = samples(24, 0)

    def run(*callbacks):
        make = functools.partial(torch.optim.AdamW, lr=0.1)
        module = SequenceClassifier(base, LinearProbe(), make, labels=["a", "b"])
        silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        own = {"callbacks": list(callbacks), "enable_model_summary": False} | silent
        L.Trainer(max_steps=3, accelerator="cpu", **own).fit(module, loader_of(rows, 8, seed=2))
        return torch.cat([p.detach().flatten() for p in module.head.parameters()])

    assert torch.equal(run(), run(Recorder({"large": loader_of(samples(9, 4), 4, None)}, [1, 3])))
