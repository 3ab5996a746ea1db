"""Every metric against an independent value; ``pytest -s`` shows the table."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from scipy import special, stats
from seqeval import metrics as entities
from sklearn import metrics as sk

from finelab.models.choice_meter import ChoiceMeter
from finelab.models.classification_meter import ClassificationMeter
from finelab.models.language_model_meter import LanguageModelMeter
from finelab.models.likelihoods import Bernoulli, Gaussian
from finelab.models.losses import IMPOSSIBLE
from finelab.models.multi_label_meter import MultiLabelMeter
from finelab.models.regression_meter import RegressionMeter
from finelab.models.scored import Scored
from finelab.models.span_meter import SpanMeter

CASES = range(12)
TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
TABLE: dict[str, tuple[str, float]] = {}
CHECKS = {
    "classification": {
        "nll": "scikit-learn log_loss",
        "accuracy": "scikit-learn accuracy_score",
        "macro_f1": "scikit-learn f1_score(average=macro)",
        "mcc": "scikit-learn matthews_corrcoef",
        "brier": "scikit-learn brier_score_loss, unscaled",
        "ece": "loop over (lo, hi] in NumPy",
        "ece_equal_mass": "np.array_split of the sorted confidences",
        "confidence_minus_accuracy": "NumPy",
    },
    "choice": {
        "nll": "scikit-learn log_loss of each row's own choices",
        "accuracy": "NumPy",
        "brier": "NumPy over each row's own choices",
        "ece": "loop over (lo, hi] in NumPy",
        "ece_equal_mass": "np.array_split of the sorted confidences",
        "confidence_minus_accuracy": "NumPy",
    },
    "multi-label": {
        "nll": "scikit-learn log_loss, summed over labels",
        "micro_f1": "scikit-learn f1_score(average=micro)",
        "macro_f1": "scikit-learn f1_score(average=macro, zero_division=nan)",
        "subset_accuracy": "scikit-learn accuracy_score",
        "mean_average_precision": "scikit-learn average_precision_score",
    },
    "regression": {
        "nll": "scipy norm.logpdf",
        "mse": "scikit-learn mean_squared_error",
        "mae": "scikit-learn mean_absolute_error",
        "r2": "scikit-learn r2_score",
        "pearson": "scipy pearsonr",
        "spearman": "scipy spearmanr",
    },
    "entities": {
        "nll": "scikit-learn log_loss",
        "accuracy": "NumPy",
        "precision": "seqeval precision_score",
        "recall": "seqeval recall_score",
        "f1": "seqeval f1_score",
    },
    "language model": {
        "nll": "scipy log_softmax in double precision",
        "perplexity": "exp of it",
        "bits_per_char": "closed form",
        "bits_per_byte": "closed form",
    },
}


def read(make, logits, targets, rows, batch, likelihood=None, size=7):
    """A fresh meter's metrics and what it misses, fed with batches of ``size`` rows."""
    meter = make()
    own = {} if likelihood is None else {"likelihood": likelihood}
    for start in range(0, int(rows.max()) + 1, size):
        part = (rows >= start) & (rows < start + size)
        columns = {name: values[start : start + size] for name, values in batch.items()}
        meter.update(Scored.of(logits[part], targets[part], rows[part] - start, **own), columns)
    return meter.compute(), meter.missing()


def compare(kind, make, logits, targets, rows, expected, batch=None, likelihood=None):
    """Equal to the independent values, and not moved by the size of the batches."""
    found, missing = read(make, logits, targets, rows, batch or {}, likelihood)
    whole, _ = read(make, logits, targets, rows, batch or {}, likelihood, size=10**6)
    assert found.keys() == expected.keys() == CHECKS[kind].keys() - missing.keys()
    assert whole == pytest.approx(found, rel=1e-12, abs=1e-12)
    for name, value in expected.items():
        worst = TABLE.get(f"{kind}: {name}", ("", 0.0))[1]
        difference = abs(found[name] - value) / max(1.0, abs(value))
        TABLE[f"{kind}: {name}"] = CHECKS[kind][name], max(worst, difference)
        assert difference < 2e-6, (kind, name, found[name], value)


def calibration(confidence, right):
    """ECE as methods have it: a sum over bins (lo, hi] of rows' share times |accuracy - confidence|."""
    edges = torch.linspace(0, 1, 16).numpy()
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean(dtype=float))
    order = np.argsort(confidence)
    mass = sum(
        len(part) / len(right) * abs(right[part].mean() - confidence[part].mean(dtype=float))
        for part in np.array_split(order, 15)
        if len(part)
    )
    gap = confidence.mean(dtype=float) - right.mean()
    return {"ece": error, "ece_equal_mass": mass, "confidence_minus_accuracy": gap}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_classification(case, dtype):
    generator = torch.Generator().manual_seed(case)
    rows, classes = [23, 60, 311][case % 3], [2, 3, 9][case // 4]
    logits = (torch.randn(rows, classes, generator=generator) * [0.5, 3.0][case % 2]).to(dtype)
    targets = torch.randint(0, classes - case % 2 * (classes > 2), (rows,), generator=generator)  # a class without rows
    p32 = logits.float().softmax(-1).numpy()
    y, p, guess = targets.numpy(), special.softmax(logits.double().numpy(), -1), p32.argmax(-1)
    expected = {
        "nll": sk.log_loss(y, p, labels=range(classes)),
        "accuracy": sk.accuracy_score(y, guess),
        "macro_f1": sk.f1_score(y, guess, average="macro"),
        "mcc": sk.matthews_corrcoef(y, guess),
        "brier": sk.brier_score_loss(y, p, labels=range(classes), scale_by_half=False),
    }
    confidence, right = p32.max(-1), (guess == y).astype(float)
    if dtype == torch.bfloat16:  # equal confidences, among which the bins of equal mass know no order
        right = np.array([right[confidence == value].mean() for value in confidence])
    expected |= calibration(confidence, right)
    make = lambda: ClassificationMeter(list("abcdefghi"[:classes]))  # noqa: E731
    compare("classification", make, logits, targets, torch.arange(rows), expected)


@pytest.mark.parametrize("case", CASES)
def test_choices(case):
    generator = torch.Generator().manual_seed(case)
    logits = torch.randn(60, 4, generator=generator) * 2
    sizes = torch.randint(2, 5, (60,), generator=generator)
    logits[torch.arange(4) >= sizes[:, None]] = IMPOSSIBLE
    targets = (torch.rand(60, generator=generator) * sizes).long()
    own = [special.softmax(row[:size].double().numpy()) for row, size in zip(logits, sizes, strict=True)]
    y = targets.tolist()
    confidence = logits.softmax(-1).max(-1).values.numpy()
    right = np.array([float(p.argmax() == label) for p, label in zip(own, y, strict=True)])
    expected = {
        "nll": np.mean([-math.log(p[label]) for p, label in zip(own, y, strict=True)]),
        "accuracy": right.mean(),
        "brier": np.mean([((p - np.eye(len(p))[label]) ** 2).sum() for p, label in zip(own, y, strict=True)]),
        **calibration(confidence, right),
    }
    compare("choice", ChoiceMeter, logits, targets, torch.arange(60), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_multi_label(case, dtype):
    generator = torch.Generator().manual_seed(case)
    logits = torch.randn(40, 4, generator=generator).to(dtype)
    targets = torch.randint(0, 2, (40, 4), generator=generator)
    if case % 3 == 0:  # a label that nobody has and nobody predicts
        targets[:, 2], logits[:, 2] = 0, -logits[:, 2].abs() - 0.1
    y, z, guess = targets.numpy(), logits.double().numpy(), (logits > 0).numpy()
    held = y.any(0)
    p = special.expit(z)
    expected = {
        "nll": -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(-1).mean(),
        "micro_f1": sk.f1_score(y, guess, average="micro"),
        "macro_f1": sk.f1_score(y, guess, average="macro", zero_division=np.nan),
        "subset_accuracy": sk.accuracy_score(y, guess),
        "mean_average_precision": sk.average_precision_score(y[:, held], z[:, held]),
    }
    make, rows = (lambda: MultiLabelMeter(list("abcd"))), torch.arange(40)
    compare("multi-label", make, logits, targets, rows, expected, likelihood=Bernoulli())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_regression(case, dtype):
    generator = torch.Generator().manual_seed(case)
    targets = (torch.randn(50, generator=generator) * 3).round() + [0.0, 30.0][case % 2]
    logits = (targets + torch.randn(50, generator=generator))[:, None].to(dtype)
    y, p = targets.double().numpy(), logits.double().numpy()[:, 0]
    expected = {
        "nll": -stats.norm.logpdf(y, p).mean(),
        "mse": sk.mean_squared_error(y, p),
        "mae": sk.mean_absolute_error(y, p),
        "r2": sk.r2_score(y, p),
        "pearson": stats.pearsonr(y, p).statistic,
        "spearman": stats.spearmanr(y, p).statistic,
    }
    compare("regression", RegressionMeter, logits, targets, torch.arange(50), expected, likelihood=Gaussian())


@pytest.mark.parametrize("case", CASES)
def test_entities(case):
    chance = random.Random(case)
    true = [[chance.choice(TAGS) for _ in range(chance.randint(1, 12))] for _ in range(30)]
    guess = [[tag if chance.random() < 0.7 else chance.choice(TAGS) for tag in row] for row in true]
    rows = torch.tensor([row for row, tags in enumerate(true) for _ in tags])
    targets = torch.tensor([TAGS.index(tag) for tags in true for tag in tags])
    guesses = torch.tensor([TAGS.index(tag) for tags in guess for tag in tags])
    logits = torch.eye(5)[guesses] * 3
    expected = {
        "nll": sk.log_loss(targets, special.softmax(logits.double().numpy(), -1), labels=range(5)),
        "accuracy": (targets == guesses).double().mean().item(),
        "precision": entities.precision_score(true, guess),
        "recall": entities.recall_score(true, guess),
        "f1": entities.f1_score(true, guess),
    }
    compare("entities", lambda: SpanMeter(TAGS), logits, targets, rows, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_language_model(case, dtype):
    generator = torch.Generator().manual_seed(case)
    rows = torch.randint(1, 9, (20,), generator=generator).repeat_interleave(1)
    rows = torch.arange(20).repeat_interleave(rows)
    logits = (torch.randn(len(rows), 50, generator=generator) * 2).to(dtype)
    targets = torch.randint(0, 50, (len(rows),), generator=generator)
    chars, size = (torch.randint(1, 30, (20,), generator=generator) for _ in range(2))
    log_p = special.log_softmax(logits.double().numpy(), -1)[np.arange(len(rows)), targets.numpy()]
    expected = {
        "nll": -log_p.mean(),
        "perplexity": math.exp(-log_p.mean()),
        "bits_per_char": -log_p.sum() / math.log(2) / chars.sum().item(),
        "bits_per_byte": -log_p.sum() / math.log(2) / size.sum().item(),
    }
    batch = {"chars": chars, "bytes": size}
    compare("language model", LanguageModelMeter, logits, targets, rows, expected, batch)


def test_the_table_is_complete(capsys):
    """Each metric of each meter has been compared; worst relative difference of all cases above."""
    if len(TABLE) < 2:
        pytest.skip("the comparisons above were not run")
    assert set(TABLE) == {f"{kind}: {name}" for kind, own in CHECKS.items() for name in own}
    for name, (check, worst) in TABLE.items():
        print(f"{name:45} {check:65} {worst:.1e}")
