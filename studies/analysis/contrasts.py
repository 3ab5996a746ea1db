"""Every arm less what it is compared with, on the primary metric, and the correction over all of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..arm import Arm
from ..cell import Stage
from ..scores import MissingScore, score
from ..statistics.equivalence import tost
from ..statistics.interval import t_interval
from ..statistics.multiplicity import holm, max_t
from ..statistics.outperforming import outperforming
from ..statistics.paired import Paired, paired
from ..statistics.sign_flip import sign_flip
from .analysis import Contrast, Estimate, Point
from .conclusion import Compared, Correction, conclude
from .item_level import ItemLevel, Rows, estimate, item_level
from .material import Material, Place, label
from .pairing import Pair, Pairs, pair_up, shown
from .scoring import bare
from .wording import listed

FLIPS_FROM = 8
"""From so many pairs on, sign flips can reach small p-values, and max-T takes Holm's place (methods 4.9)."""
ONE_SIDED = 0.90


@dataclass(frozen=True)
class Question:
    """One comparison of the declared family.

    Args:
        arm: what is compared.
        reference: name of the arm that it is compared with.
        kind: whether that is its reference or its placebo.
        task: level of the tasks' factor.
    """

    arm: Arm
    reference: str
    kind: Literal["reference", "placebo"]
    task: str | None


@dataclass(frozen=True)
class Answer:
    """The numbers of one comparison before the correction.

    Args:
        question: what was asked.
        pairs: what there is to say.
        points: differences, one a pair.
        test: paired t; None without a pair.
    """

    question: Question
    pairs: Pairs
    points: list[Point]
    test: Paired | None

    @property
    def differences(self) -> np.ndarray:
        return np.array([point.value for point in self.points])


def contrasts_of(
    material: Material, stage: Literal["report", "confirm"], rows: Rows
) -> tuple[list[Contrast], Correction]:
    """The declared family of a stage, references first, then placebos, of several tasks each on its own; and how its
    p-values were adjusted."""
    answers = [_answer(material, question, stage) for question in family(material, stage)]
    correction, adjusted = correct(answers)
    equivalent = _equivalence(answers, material.study.margin)
    found = [
        _contrast(material, answer, stage, correction, p, p_equivalent, rows)
        for answer, p, p_equivalent in zip(answers, adjusted, equivalent, strict=True)
    ]
    return found, correction


def family(material: Material, stage: Stage) -> list[Question]:
    """What was declared before anything ran; of the confirmation, the arms that were picked for it."""
    return declared(arms_at(material, stage), material.tasks)


def declared(arms: Sequence[Arm], tasks: Sequence[str | None]) -> list[Question]:
    """Each arm against its reference, then against its placebo, where that is there too; every task on its own."""
    names = {arm.name for arm in arms}
    found = []
    for kind in ("reference", "placebo"):
        for arm in arms:
            other = arm.reference if kind == "reference" else arm.placebo
            if other is not None and other in names:
                found += [Question(arm, other, kind, task) for task in tasks]
    return found


def arms_at(material: Material, stage: Stage) -> Sequence[Arm]:
    """All of them; of the confirmation, those that were picked for it and their references."""
    if stage == "report":
        return material.arms
    picked = {result.cell.arm for result in material.results if result.cell.stage == stage}
    picked |= {cell.arm for cell in material.unfinished if cell.stage == stage}
    return [arm for arm in material.arms if arm.name in picked]


def correct(answers: Sequence[Answer]) -> tuple[Correction, list[float | None]]:
    """Holm on the paired t tests; max-T sign flips where every comparison has the same eight pairs or more.

    A planned comparison without a test is of the family, with p = 1.
    """
    complete = [answer for answer in answers if answer.points and not answer.pairs.unpaired]
    labels = {tuple(point.replicate for point in answer.points) for answer in complete}
    whole = len(complete) == len(answers) and len(labels) == 1
    if whole and len(answers[0].points) >= FLIPS_FROM:
        adjusted = max_t(np.stack([answer.differences for answer in answers], 1))
        return Correction("max-T", "sign flips", len(answers)), [float(p) for p in adjusted]
    raw = [answer.test.p if answer.test is not None else None for answer in answers]
    adjusted = holm([1.0 if p is None else p for p in raw]) if raw else []
    return Correction("Holm", "paired t", len(answers)), [
        None if p is None else float(value) for p, value in zip(raw, adjusted, strict=True)
    ]


def differences(pairs: Sequence[Pair], key: str) -> tuple[list[Point], list[Pair], dict[str, str]]:
    """Arm less reference of each pair that has the score, these pairs, and why others have none."""
    found, kept, missing = [], [], {}
    for pair in pairs:
        try:
            value = score(pair.arm.record, key) - score(pair.reference.record, key)
        except MissingScore as error:
            missing[shown(pair.place)] = str(error)
            continue
        task, seeds = pair.place
        found.append(Point(seeds, value, pair.arm.cell.id, task))
        kept.append(pair)
    return found, kept, missing


def places(material: Material, stage: Stage, task: str | None) -> list[Place]:
    """Planned pairs."""
    study = material.study
    seeds = study.confirm.seeds if stage == "confirm" and study.confirm is not None else study.replicates
    return [(task, label(each)) for each in seeds]


def _answer(material: Material, question: Question, stage: Stage) -> Answer:
    key = material.study.metric.key
    planned = places(material, stage, question.task)
    pairs = pair_up(material.at(question.arm.name, stage), material.at(question.reference, stage), planned, key)
    points, kept, missing = differences(pairs.found, key)
    pairs = Pairs(kept, pairs.refused, pairs.absent | missing, pairs.by_seed)
    return Answer(question, pairs, points, paired([point.value for point in points]) if points else None)


def _equivalence(answers: Sequence[Answer], margin: float | None) -> list[tuple[float | None, float | None]]:
    """Raw and adjusted p of the two one-sided tests."""
    if margin is None:
        return [(None, None)] * len(answers)
    raw = [tost(answer.differences, margin) if answer.points else None for answer in answers]
    adjusted = holm([1.0 if p is None else p for p in raw]) if raw else []
    return [(p, None if p is None else float(value)) for p, value in zip(raw, adjusted, strict=True)]


def _contrast(
    material: Material,
    answer: Answer,
    stage: Literal["report", "confirm"],
    correction: Correction,
    p_adjusted: float | None,
    p_equivalent: tuple[float | None, float | None],
    rows: Rows,
) -> Contrast:
    study, question, test = material.study, answer.question, answer.test
    items = item_level(answer.pairs.found, study.metric.key, rows)
    difference = None if test is None else Estimate(test.mean, test.low, test.high, test.n)
    compared = _compared(material, answer, correction, p_adjusted, p_equivalent[1], items)
    conclusion, sentence = conclude(compared)
    return Contrast(
        arm=question.arm.name,
        reference=question.reference,
        kind=question.kind,
        pairs=answer.points,
        difference=difference,
        effect=None if test is None else test.effect,
        p=None if test is None else test.p,
        p_adjusted=p_adjusted,
        p_sign_flip=sign_flip(answer.differences) if len(answer.points) > 1 else None,
        p_equivalent=p_equivalent[0],
        outperforms=compared.outperforms,
        items=items.together,
        items_by_seed=items.by_seed,
        two_way=items.two_way,
        conclusion=conclusion,
        sentence=_about(question, stage) + sentence + _how_paired(answer.pairs),
        unpaired=answer.pairs.unpaired,
        stage=stage,
        task=question.task,
        pairing=pairing_words(answer.pairs),
        p_equivalent_adjusted=p_equivalent[1],
    )


def _compared(
    material: Material,
    answer: Answer,
    correction: Correction,
    p_adjusted: float | None,
    p_equivalent: float | None,
    items: ItemLevel,
) -> Compared:
    study, question, test = material.study, answer.question, answer.test
    return Compared(
        arm=question.arm.name,
        reference=question.reference,
        metric=bare(study.metric.key, study.metric.split),
        mode=study.metric.mode,
        difference=None if test is None else Estimate(test.mean, test.low, test.high, test.n),
        sd=None if test is None else test.sd,
        effect=None if test is None else test.effect,
        p_adjusted=p_adjusted,
        correction=correction,
        margin=study.margin,
        p_equivalent=p_equivalent,
        narrow=None if test is None else estimate(t_interval(answer.differences, ONE_SIDED)),
        items=items.together,
        outperforms=_wins(material, answer),
        refused=answer.pairs.refused,
        absent=answer.pairs.absent,
    )


def _wins(material: Material, answer: Answer) -> Estimate | None:
    return estimate(outperforming(answer.differences, material.study.metric.mode)) if answer.points else None


def _about(question: Question, stage: str) -> str:
    said = "On fresh seeds: " if stage == "confirm" else ""
    said += f"On {question.task}: " if question.task is not None else ""
    return said + ("Against its placebo: " if question.kind == "placebo" else "")


def pairing_words(pairs: Pairs) -> str:
    """What pairs share; empty where it is seeds and the order of the rows."""
    if not pairs.by_seed:
        return ""
    named = listed(pairs.by_seed[:3]) + (" and others" if len(pairs.by_seed) > 3 else "")
    return f"paired by seed, not by data order, since {named} {'differs' if len(pairs.by_seed) == 1 else 'differ'}"


def _how_paired(pairs: Pairs) -> str:
    words = pairing_words(pairs)
    return f" The runs are {words}." if words and pairs.found else ""
