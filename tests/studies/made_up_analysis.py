"""A whole Analysis that nobody computed, for whoever shows one."""

import numpy as np

from finelab.studies.analysis.analysis import (
    Analysis,
    ArmRow,
    Contrast,
    Course,
    Curve,
    Estimate,
    Matrix,
    NoiseFloor,
    Point,
    Sample,
    Score,
    Search,
    TaskSummary,
    Trial,
    Unfinished,
)


def an_analysis(arms: int = 4, replicates: int = 5, names: list[str] | None = None, text: str = "") -> Analysis:
    """Everything that an Analysis can hold, made up.

    Args:
        arms: how many, the baseline among them.
        replicates: seeds of each.
        names: of the arms, instead of made-up ones.
        text: put into every label, sentence and sample, e.g. a hostile one.
    """
    rng = np.random.default_rng(arms)
    names = names or [f"arm {index}{text}" for index in range(arms)]
    luck = rng.normal(0, 0.01, replicates)
    values = {name: 0.8 + 0.01 * i + luck + rng.normal(0, 0.003, replicates) for i, name in enumerate(names)}
    rows = [_arm_row(name, names[0], values[name], text) for name in names]
    contrasts = [_contrast(name, names[0], values[name] - values[names[0]], text) for name in names[1:]]
    estimate = Estimate(0.012, 0.004, 0.02, replicates)
    trials = [
        Trial(t, {"model.optimizer.init_args.lr": 1e-3 * 3.0**t}, [0.7 + 0.01 * t], 0.7 + 0.01 * t, t == 1)
        for t in range(3)
    ]
    steps = list(range(10, 60, 10))
    courses = [
        Course(
            name,
            "accuracy",
            [(steps, [0.5 + 0.05 * i + 0.01 * r for i in range(5)]) for r in range(replicates)],
            [(steps, [2.0 / (i + 1) for i in range(5)]) for _ in range(replicates)],
            ["healthy"] * (replicates - 1) + ["overfitting"],
        )
        for name in names
    ]
    fitted = [(float(x), 0.9 - 0.5 * x**-0.5, 0.88 - 0.5 * x**-0.5, 0.92 - 0.5 * x**-0.5) for x in (100, 300, 1000)]
    curve = Curve(
        "learning_curve",
        f"rows{text}",
        "",
        [100.0, 300.0, 1000.0],
        [Estimate(v[1], v[2], v[3], replicates) for v in fitted],
        {"a": Estimate(0.9, 0.88, 0.92, replicates)},
        fitted,
        Estimate(2500.0, 1200.0, 5000.0, replicates),
        f"It is flat from 2,500 rows on.{text}",
    )
    matrix = Matrix(
        names[0],
        "nll",
        "min",
        ["grimm", "aesop"],
        ["grimm", "aesop"],
        [[estimate, None], [estimate, estimate]],
        [2.0, 2.1],
        f"Grimm helps Aesop.{text}",
    )
    return Analysis(
        study=f"made up{text}",
        question=f"Which arm is best?{text}",
        verdict=[
            f"{names[-1]} is better than {names[0]} by 0.012 [0.004, 0.020] (paired t, n=5, Holm p=0.03).{text}",
            f"{names[1]}: no difference shown.{text}",
        ],
        scores=[
            Score("test/accuracy", "accuracy ↑", "max", True),
            Score("test/nll", "NLL ↓", "min", False),
            Score("cost/training_seconds", "training seconds ↓", "min", False),
            Score("parameters/trainable", "trained parameters ↓", "min", False),
            Score("forgetting/general/difference/nll", "forgetting ↓", "min", False),
        ],
        arms=rows,
        contrasts=contrasts,
        correction=f"Holm over {len(contrasts)}",
        match="equal optimizer steps",
        budget="3 trials of the learning rate on seed 901, picked by validation accuracy",
        searches=[Search(name, None, "validation/accuracy", trials) for name in names],
        unfinished=[
            Unfinished(
                "0123456789abcdef",
                names[-1],
                "5",
                "report",
                "failed",
                "nonfinite",
                f"The loss became NaN.{text}",
                1,
                "cells/x/log.txt",
            )
        ],
        courses=courses,
        noise=NoiseFloor(
            names[0],
            [0.8, 0.8, 0.8],
            [0.79, 0.81, 0.8],
            0.0,
            0.01,
            True,
            f"The same seeds give the same numbers.{text}",
        ),
        curves=[curve],
        matrices=[matrix],
        tasks=[
            TaskSummary(
                names[1],
                names[0],
                estimate,
                True,
                {"trec": estimate, "banking77": estimate},
                0.03,
                0.06,
                f"Better.{text}",
            )
        ],
        samples=[
            Sample(name, "1", f"row 17{text}", {"prompt": f"Who?{text}", "target": "Ada", "written": f"Grace{text}"})
            for name in names
        ],
        caveats=[f"One cell diverged.{text}"],
        power=["With n = 5, the smallest two-sided sign-flip p is 0.0625."],
        provenance={"finelab": "0.1.0", f"hardware{text}": "made up"},
        command="finelab study run study.yaml",
        complete=False,
    )


def _arm_row(name: str, baseline: str, values: np.ndarray, text: str) -> ArmRow:
    keys = (
        "test/accuracy",
        "test/nll",
        "cost/training_seconds",
        "parameters/trainable",
        "forgetting/general/difference/nll",
    )
    scale = (1.0, 0.5, 30.0, 1000.0, 0.1)
    points = {
        key: [Point(str(i + 1), float(v * s), f"{name}-{i}") for i, v in enumerate(values)]
        for key, s in zip(keys, scale, strict=True)
    }
    scores = {
        key: Estimate(float(np.mean([p.value for p in ps])), 0.95 * ps[0].value, 1.05 * ps[0].value, len(ps))
        for key, ps in points.items()
    }
    return ArmRow(
        name,
        {"method": name},
        name == baseline,
        False,
        len(values),
        len(values),
        {"model.optimizer.init_args.lr": 1e-3},
        scores,
        points,
        {"test/bleu": f"no text was written{text}"},
        (40, 40),
        name != baseline,
        {"healthy": len(values)},
    )


def _contrast(name: str, reference: str, differences: np.ndarray, text: str) -> Contrast:
    mean, n = float(differences.mean()), len(differences)
    half = 2.776 * float(differences.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    pairs = [Point(str(i + 1), float(d), f"{name}-{i}") for i, d in enumerate(differences)]
    estimate = Estimate(mean, mean - half, mean + half, n)
    return Contrast(
        name,
        reference,
        "reference",
        pairs,
        estimate,
        1.2,
        0.02,
        0.04,
        0.0625,
        None,
        Estimate(0.8, 0.28, 0.99, n),
        estimate,
        {"1": estimate},
        estimate,
        "better",
        f"{name} is better than {reference}.{text}",
    )
