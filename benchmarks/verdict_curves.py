"""Simulated runs whose truth is known: what the probes of a run would have recorded, and what holds of its population.

A row's loss per token at evaluation t is ``m(t) g_i(t)``: a mean curve and a lognormal factor of mean one,

    log g_i(t) = d_i + a_i sqrt(tau) + w_i(tau) + e_i r(t)  less half its variance,

its difficulty d (shared by all evaluations, which is what makes pairing decisive: methods.md 3.4), a rate of its own a,
a walk w of its own along the learning rate travelled tau, and in a rise r a share e of its own (a few rows pay for most
of it). All of it is Gaussian in the logarithm, so that the mean loss of the population and the standard error of a
difference on a set of any size have closed forms: truth is measured on an untouched set of 20,000 rows without drawing
it. Rows of one document share a part of every term. Spreads and walks follow real runs (benchmarks/README.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from finelab.callbacks.evidence.probe_series import Floats, ProbeSeries, ProbeSet

FAMILIES = ("flat", "falling", "rising late", "rising early", "noisy")
UNTOUCHED = 20_000
"""Rows of the set that says what is true."""

SHORT, THERE = 0.10, 0.05
"""A run underfits when it ends more than the first share above the loss that ten times the learning rate travelled
reaches; it has learned what there is to learn when it ends less than the second above it."""

TRIFLE = 0.01
"""A loss given away that is a smaller share of the best loss is counted apart: a set of 20,000 rows sees it, the few
hundred rows of a validation split cannot."""

CAP = 512
"""Most rows of the train probe, as of ``finelab.callbacks.Probes``."""


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated run's population.

    Args:
        overfits: the last weights lose more than two standard errors of the untouched set against its best.
        material: and more than ``TRIFLE`` of the loss.
        best: the evaluation with the lowest loss, counted from 0.
        lost: nats per token that the last weights give away.
        error: standard error of that difference on the untouched set.
        underfits: the end is more than ``SHORT`` above what more learning rate reaches.
        learned: it is less than ``THERE`` above that.
        short: by what share of the loss it is above.
        effect: what is lost in units of its standard error on the run's own validation rows.
    """

    overfits: bool
    material: bool
    best: int
    lost: float
    error: float
    underfits: bool
    learned: bool
    short: float
    effect: float


@dataclass(frozen=True)
class Simulated:
    """A run and what is true of it; ``population`` is the true mean loss at each evaluation."""

    family: str
    kind: str
    series: ProbeSeries
    truth: Truth
    population: Floats


@dataclass(frozen=True)
class Shape:
    """Mean losses of a run.

    Args:
        validation: [T] of the population.
        train: [T] of rows that are trained on.
        start: loss of the untouched base, of both.
        reachable: what the same process reaches with ten times the learning rate travelled.
        rise: [T] logarithm of what over-training has added, 0 before.
    """

    validation: Floats
    train: Floats
    start: float
    reachable: float
    rise: Floats


@dataclass(frozen=True)
class Noise:
    """Standard deviations in the logarithm of a row's loss, and what rows share.

    Args:
        difficulty: between rows, at all times.
        rate: of a row's own share of the movement.
        walk: of a row's own walk over the whole run.
        rise: of a row's own share of a rise, per unit of its logarithm.
        shared: part of every variance that rows of one document share.
        document: rows of a document.
        tokens: most supervised tokens of a row; all rows have one where it is 1.
    """

    difficulty: float
    rate: float
    walk: float
    rise: float
    shared: float
    document: int
    tokens: int


def simulate(index: int, seed: int = 1, family: str | None = None) -> Simulated:
    """The run of that number: the same whenever it is asked for.

    Args:
        index: families take turns.
        seed: of the whole collection.
        family: another one than that whose turn it is.
    """
    random = np.random.default_rng([seed, index])
    family = family or FAMILIES[index % len(FAMILIES)]
    evaluations, rows = int(random.integers(3, 41)), round(log_uniform(random, 100, 2000))
    lm = random.random() < 0.4
    tau = distance(random, evaluations)
    shape = shape_of(family, tau, random)
    noise = noise_of(random, lm)
    size = int(random.integers(5, 200))
    parts = draw_parts(random, shape, noise, tau, rows)
    series = ProbeSeries(
        steps=size * np.arange(1, evaluations + 1),
        travelled=tau * log_uniform(random, 1e-3, 10),
        train=parts["train"][0],
        a=parts["a"][0],
        b=parts["b"][0],
        base={name: base for name, (_, base) in parts.items()},
        planned=evaluations,
    )
    kind = "language model" if lm else "classification"
    return Simulated(family, kind, series, truth_of(shape, noise, tau, series), shape.validation)


def log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def distance(random: np.random.Generator, evaluations: int) -> Floats:
    """[T] share of the learning rate travelled, under a constant rate, a linear decay or a cosine."""
    x = np.arange(1, evaluations + 1) / evaluations
    schedules: tuple[Callable[[Floats], Floats], ...] = (
        lambda x: x,
        lambda x: 1 - (1 - x) ** 2,
        lambda x: x + np.sin(np.pi * x) / np.pi,
    )
    return schedules[random.integers(3)](x)


# ---- mean curves


def shape_of(family: str, tau: Floats, random: np.random.Generator) -> Shape:
    """Mean curves of a family; a noisy run is one of the other families' under more noise of the optimizer."""
    noisy = family == "noisy"
    if noisy:
        family = str(random.choice(["flat", "falling", "falling", "rising early"]))
    floor, height = log_uniform(random, 0.15, 3.0), log_uniform(random, 0.1, 2.0)
    fall = {
        "flat": lambda: settled(height, float(tau[0])),
        "falling": lambda: falling(height, log_uniform(random, 0.5, 40)),
        "rising late": lambda: falling(height, log_uniform(random, 8, 40)),
        "rising early": lambda: falling(height, log_uniform(random, 20, 80)),
    }[family]()
    rise = np.zeros_like(tau)
    if family.startswith("rising"):
        begin = random.uniform(0.03, 0.3) if family == "rising early" else random.uniform(0.4, 0.8)
        size = log_uniform(random, 0.1, 1.5)
        rise = size * (np.maximum(tau - begin, 0) / (1 - begin)) ** random.uniform(0.7, 1.5)
    wander = wandering(random, tau, log_uniform(random, 0.002, 0.02) if noisy else log_uniform(random, 1e-4, 1e-3))
    clean = floor * (1 + fall(tau))
    follow = random.uniform(0.3, 1.0)  # the train probe feels most of the optimizer's noise too
    train = clean * np.exp(-memorised(random, family, tau, rise) + follow * wander)
    start = float(floor * (1 + fall(np.zeros(1))[0]))
    reachable = float(floor * (1 + fall(np.array([10.0]))[0]))
    return Shape(clean * np.exp(rise + wander), train, start, reachable, rise)


def falling(height: float, pace: float) -> Callable[[Floats], Floats]:
    """What is left of the loss above its floor, as a share of the floor."""
    return lambda tau: height * np.exp(-pace * tau / (1 + 0.2 * pace * tau))


def settled(height: float, first: float) -> Callable[[Floats], Floats]:
    """Everything is learned before the first evaluation."""
    return lambda tau: height * np.exp(-10 * tau / first)


def wandering(random: np.random.Generator, tau: Floats, size: float) -> Floats:
    """[T] noise of the optimizer, the same for all rows: autocorrelated, and as small as the learning rate becomes."""
    rate = np.diff(tau, prepend=0.0)
    keep, value, found = random.uniform(0.0, 0.6), 0.0, []
    for own in np.sqrt(rate / rate.max()):
        value = keep * value + np.sqrt(1 - keep**2) * random.normal()
        found.append(size * own * value)
    return np.array(found)


def memorised(random: np.random.Generator, family: str, tau: Floats, rise: Floats) -> Floats:
    """[T] logarithm of validation's clean loss over the train probe's: a gap that every fit has, and what a rise costs
    validation, the train probe gains several times over."""
    benign = log_uniform(random, 0.01, 0.7)
    return benign * np.sqrt(tau) + random.uniform(1.0, 4.0) * rise


# ---- rows


def noise_of(random: np.random.Generator, lm: bool) -> Noise:
    """A paired standard error of about a tenth of the unpaired one, between neighbouring evaluations."""
    if lm:
        difficulty = random.uniform(0.1, 0.3)
        moves = difficulty * log_uniform(random, 0.2, 0.6)
        return Noise(
            difficulty,
            moves,
            moves / 2,
            random.uniform(0.3, 0.8),
            random.uniform(0.05, 0.3),
            int(random.integers(1, 8)),
            256,
        )
    difficulty = random.uniform(0.6, 1.4)
    moves = difficulty * log_uniform(random, 0.3, 0.9)
    return Noise(difficulty, moves, moves / 2, random.uniform(0.3, 1.0), 0.0, 1, 1)


def covariance(noise: Noise, tau: Floats, rise: Floats) -> Floats:
    """[T, T] of the logarithm of one row's loss."""
    root = np.sqrt(tau)
    found = noise.difficulty**2 + noise.rate**2 * np.outer(root, root)
    found = found + noise.walk**2 * np.minimum.outer(tau, tau)
    return found + noise.rise**2 * np.outer(rise, rise)


def factors(random: np.random.Generator, noise: Noise, tau: Floats, rise: Floats, count: int) -> Floats:
    """[T, count] log g before its mean is taken off, of as many independent rows or documents."""
    steps = np.sqrt(np.diff(tau, prepend=0.0))
    walk = np.cumsum(steps[:, None] * random.normal(size=(len(tau), count)), 0)
    d, a, e = random.normal(size=(3, count))
    return (
        noise.difficulty * d
        + noise.rate * np.outer(np.sqrt(tau), a)
        + noise.walk * walk
        + noise.rise * np.outer(rise, e)
    )


def draw(
    random: np.random.Generator, mean: Floats, noise: Noise, tau: Floats, rise: Floats, rows: int, document: int
) -> tuple[ProbeSet, Floats]:
    """A probe set, and its rows' losses under the base, which is the evaluation at distance 0."""
    groups = np.arange(rows) // noise.document
    own = factors(random, noise, tau, rise, rows)
    of_all = factors(random, noise, tau, rise, int(groups[-1]) + 1)[:, groups]
    log = np.sqrt(1 - noise.shared) * own + np.sqrt(noise.shared) * of_all
    log -= np.diag(covariance(noise, tau, rise))[:, None] / 2
    tokens = np.ones(rows) if noise.tokens == 1 else random.integers(noise.tokens // 8, noise.tokens + 1, rows)
    loss = mean[:, None] * np.exp(log)
    right = (loss < np.log(2)).astype(float) if noise.tokens == 1 else np.exp(-loss)
    nll = (loss[1:] * tokens).astype(np.float32)
    return ProbeSet(nll, tokens.astype(float), right[1:], document + groups), loss[0] * tokens


def draw_parts(
    random: np.random.Generator, shape: Shape, noise: Noise, tau: Floats, rows: int
) -> dict[str, tuple[ProbeSet, Floats]]:
    """Train probe and the two halves of validation, each with its base."""
    tau, rise = np.concatenate([[0.0], tau]), np.concatenate([[0.0], shape.rise])
    sizes = {"train": min(rows, CAP), "a": (rows + 1) // 2, "b": rows // 2}
    found = {}
    for number, (name, size) in enumerate(sizes.items()):
        mean = np.concatenate([[shape.start], shape.train if name == "train" else shape.validation])
        found[name] = draw(random, mean, noise, tau, 0 * rise if name == "train" else rise, size, number * 10_000)
    return found


# ---- truth


def truth_of(shape: Shape, noise: Noise, tau: Floats, series: ProbeSeries) -> Truth:
    best, last = int(np.argmin(shape.validation)), len(tau) - 1
    lost = float(shape.validation[last] - shape.validation[best])
    spread = covariance(noise, tau, shape.rise)
    weights = np.concatenate([series.a.tokens, series.b.tokens])
    uneven = 1 + float(np.var(weights) / np.mean(weights) ** 2)
    rows = len(weights)
    means = shape.validation[[best, last]]
    alone = paired_variance(means, spread[np.ix_([best, last], [best, last])])
    together = paired_variance(means, noise.shared * spread[np.ix_([best, last], [best, last])])
    variance = uneven * alone + (noise.document - 1) * together
    short = float(shape.validation[last] / shape.reachable - 1)
    overfits = bool(lost > 2 * np.sqrt(variance / UNTOUCHED))
    return Truth(
        overfits=overfits,
        material=overfits and lost > TRIFLE * float(shape.validation[best]),
        best=best,
        lost=lost,
        error=float(np.sqrt(variance / UNTOUCHED)),
        underfits=short > SHORT and not overfits and not shape.rise.any(),
        learned=short < THERE,
        short=short,
        effect=lost / float(np.sqrt(variance / rows)) if best != last else 0.0,
    )


def paired_variance(means: Floats, spread: Floats) -> float:
    """Covariance over rows of the difference between two evaluations, from means [2] and the logarithms' spread."""
    products = np.outer(means, means) * np.expm1(spread)
    return float(products[0, 0] + products[1, 1] - 2 * products[0, 1])
