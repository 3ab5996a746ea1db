"""Studies that nobody ran: plans, records and per-example files with planted effects."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from finelab.contracts.order_trail import OrderTrail
from finelab.contracts.record import Best, Cost, Record, SplitResult, write_record
from finelab.contracts.run_config import config_digest
from finelab.contracts.seeds import Seeds
from finelab.contracts.verdict import Verdict
from finelab.studies.analysis.analysis import Unfinished
from finelab.studies.analysis.material import unfinished
from finelab.studies.arm import Arm
from finelab.studies.cell import Cell, identity
from finelab.studies.resolution import Resolution
from finelab.studies.results import CELLS, RUN, CellResult, read_results
from finelab.studies.study import EngineSpec, Factor, Level, Limits, MetricSpec, Study

STEPS, BATCH = 40, 8
HARDWARE = {"processor": "made up", "cores": 2, "threads": 1, "accelerators": [], "ranks": 1, "system": "Linux"}
VERSIONS = {"python": "3.11.7", "finelab": "0.1.0", "torch": "2.13.0+cpu"}


def a_study(root: Path, levels: list[str], replicates: int = 5, **changes: Any) -> Study:
    """One factor ``method`` whose first level is the baseline; anything else by ``changes``."""
    factor = Factor("method", tuple(Level(name, {}, "study.yaml:1") for name in levels))
    study = Study(
        name="made_up", file=root / "study.yaml", text="study: made_up\n", question="Which method is best?",
        base=root / "base.yaml", root=root, overrides={}, factors=(factor,), design="grid", listed=(),
        baseline={"method": levels[0]}, within=(), tasks=None,
        replicates=tuple(Seeds(seed, seed, seed) for seed in range(1, replicates + 1)),
        metric=MetricSpec("accuracy", "test", "max"), secondary=("test/nll", "cost/training_seconds"), tune=None,
        match="steps", margin=None, noise=0, confirm=None, engine=EngineSpec(), limits=Limits(), views={},
    )  # fmt: skip
    return dataclasses.replace(study, **changes)


def arms_of(levels: list[str], placebos: dict[str, str] | None = None) -> list[Arm]:
    """The first is the reference of all others.

    Args:
        levels: names.
        placebos: arm -> its placebo.
    """
    placebos = placebos or {}
    return [Arm(name, {"method": name}, levels[0] if index else None, placebos.get(name))
            for index, name in enumerate(levels)]  # fmt: skip


def a_config(arm: str, seeds: Seeds, **data: Any) -> dict[str, Any]:
    """Of a cell; ``data`` goes to the data module."""
    return {
        "seeds": seeds.as_dict(),
        "model": {"class_path": "finelab.models.SequenceClassifier", "init_args": {"method": arm}},
        "data": {"class_path": "finelab.data.TextDataModule", "init_args": {"batch_size": BATCH} | data},
        "trainer": {"max_steps": STEPS},
    }


def a_trail(seeds: Seeds, steps: int = STEPS, other: int = 0) -> OrderTrail:
    """The order that a data seed gives; ``other`` > 0 is another one."""
    found = OrderTrail()
    for step in range(steps):
        found.add(step, [1000 * seeds.data + BATCH * step + row + 10**6 * other for row in range(BATCH)])
    return found


def a_record(
    cell: Cell, scores: dict[str, float], rows: int, trail: OrderTrail | None = None, **changes: Any
) -> Record:
    """Of a finished run whose test split has these scores; its validation split has the same."""
    trail = trail or a_trail(cell.seeds)
    before = {"probe": {"nll": 0.9, "accuracy": 0.6}}
    splits = {split: SplitResult(rows, before, dict(scores)) for split in ("validation", "test")}
    history = [
        {"step": float(step), "epoch": 0.0, "train_nll": 2.0 / (1 + step / 10), "nll": 2.2 / (1 + step / 10)}
        | {name: value * step / STEPS for name, value in scores.items() if name != "nll"}
        for step in range(10, STEPS + 1, 10)
    ]
    record = Record(
        status="finished", started="2026-11-22T07:00:00+00:00", command=["finelab", "fit"],
        seeds=cell.seeds.as_dict(), config_digest=cell.config_digest, base="tiny://bert",
        parameters={"trainable": 1_000, "total": 100_000},
        adapter={"name": "LoraConfig", "merges": True, "base_is": "off"}, data={"fingerprint": "f1"},
        metrics=splits, best=Best("val/accuracy", "max", 0.8, STEPS), history=history,
        examples={f"{split}-after": f"predictions/{split}-after.parquet" for split in splits}, test_read=True,
        order_digest=trail.digest, order_trail=trail.as_dict(),
        cost=Cost(30.0, 20.0, STEPS, 0, STEPS * BATCH, STEPS * BATCH, 9_000, 1_500_000_000),
        versions=VERSIONS, hardware=HARDWARE,
        verdict=Verdict("healthy", "It does not overfit.", "nll", STEPS, None, None),
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


class MadeUp:
    """A study's folder that is filled by hand.

    Args:
        study: what it says.
        arms: under comparison.
    """

    def __init__(self, study: Study, arms: list[Arm], code: str = "c0de") -> None:
        self.study, self.arms = study, arms
        self.cells: list[Cell] = []
        self.unfinished: list[Unfinished] = []
        self.plan: Any = SimpleNamespace(
            study=study, arms=tuple(arms), variants=(), resolution=Resolution({}, dict(VERSIONS), code)
        )

    def cell(
        self, arm: str, replicate: int = 0, stage: Any = "report", trial: int = 0, repeat: int = 0,
        seeds: Seeds | None = None, task: str | None = None, setting: dict[str, Any] | None = None, **data: Any,
    ) -> Cell:  # fmt: skip
        """One that is planned. ``data`` goes to the configuration of its data module."""
        seeds = seeds or self.study.replicates[replicate]
        config = a_config(arm, seeds, **data) | {"setting": setting or {}, "task": task}
        content = {"config": config, "versions": VERSIONS, "data": "f1", "base": "b1", "repeat": repeat}
        found = Cell(identity(content), arm, task, stage, replicate, trial, repeat, seeds, setting or {}, config,
                     config_digest(config))  # fmt: skip
        self.cells.append(found)
        return found

    def finish(
        self, cell: Cell, scores: dict[str, float], columns: dict[str, Any] | None = None, **changes: Any
    ) -> CellResult:
        """Write what its run leaves.

        Args:
            cell: that is done.
            scores: of the test split and of validation.
            columns: of the per-example files; None for no file.
            changes: of the record; ``trail`` is its order.
        """
        folder = self.study.folder / CELLS / cell.folder_name
        run = folder / RUN
        (run / "predictions").mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps(cell.as_dict()))
        record = a_record(cell, scores, 0 if columns is None else len(columns["sample_id"]), **changes)
        for name in record.examples.values():
            if columns is not None:
                pyarrow.parquet.write_table(pyarrow.table(columns), run / name)
        write_record(record, run)
        return CellResult(cell, record, run)

    def fail(self, cell: Cell, reason: str = "nonfinite", message: str = "the loss became NaN") -> None:
        self.unfinished.append(unfinished(cell, "failed", reason, message, 1))

    @property
    def results(self) -> list[CellResult]:
        return read_results(self.study.folder, self.cells)


def rows_of(rng: np.random.Generator, skill: float, difficulty: np.ndarray) -> dict[str, list]:
    """Answers of one model.

    Args:
        rng: of this model alone.
        skill: in logits.
        difficulty: [rows], shared by all models.
    """
    chance = 1 / (1 + np.exp(difficulty - skill))
    correct = (rng.random(len(difficulty)) < chance).astype(float)
    nll = -np.log(np.where(correct == 1, chance, 1 - chance))
    count = len(difficulty)
    own = {"nll": nll.tolist(), "correct": correct.tolist(), "label": ["a", "b"] * (count // 2)}
    return {"sample_id": list(range(count)), "tokens": [1] * count, **own}


def planted(
    root: Path, skills: dict[str, float], replicates: int = 5, rows: int = 200, seed: int = 0, **changes: Any
) -> MadeUp:
    """A finished study in which every arm has its own skill, every seed and every row their luck.

    Args:
        root: folder of studies.
        skills: arm -> logits; the first arm is the baseline.
        replicates: seeds.
        rows: of the test split.
        seed: of all luck.
        changes: of the study.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1.5, rows)
    luck = rng.normal(0, 0.1, replicates)
    made = MadeUp(a_study(root, list(skills), replicates, **changes), arms_of(list(skills)))
    for arm, skill in skills.items():
        for replicate in range(replicates):
            columns = rows_of(rng, skill + luck[replicate] + rng.normal(0, 0.05), difficulty)
            metrics = {"accuracy": float(np.mean(columns["correct"])), "nll": float(np.mean(columns["nll"]))}
            made.finish(made.cell(arm, replicate), metrics, columns)
    return made
