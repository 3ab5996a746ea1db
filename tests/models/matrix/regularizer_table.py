"""One row per regularizer: how it is made at a strength that acts, how it is made neutral, and what it cannot keep."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from peft import LoraConfig, PeftConfig

from finelab.models.adapters import Full
from finelab.models.adapters.adapter import Adapter
from finelab.models.regularizers import L2SP, SAM, ChildTuning, FreeLB, KLToBase, LabelSmoothing, Mixout, NEFTune, RDrop
from finelab.models.regularizers.regularizer import Regularizer

TASKS = ("lm", "class")


def lora() -> LoraConfig:
    return LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.1)


Make = Callable[[], Regularizer]


class Open(float):
    """A number that no short cut takes for its neutral value; arithmetic sees the value."""

    __hash__ = float.__hash__

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True


@dataclass(frozen=True)
class Row:
    """What the matrix knows about one method.

    Args:
        name: of the class, with the variant where there are several.
        real: at a strength whose effect is seen within two steps.
        neutral: as shipped: the short cut is taken.
        uncut: the neutral numbers with the short cut disabled: the machinery runs and must change nothing.
        quiet: at a real strength without a draw of its own; None where every form of it draws.
        adapter: what it is tried on.
        tasks: those it can be used with; all comparisons are made on the first, the slow ones on the others too.
        needs_dropout: it acts on the difference between dropout masks.
        shapes: it overrides ``shape_gradients``, so that its place in the list matters.
        in_forward: it changes a forward or asks for another one; compiled by itself.
        compiles: it claims the same result under ``torch.compile``.
        logged: it logs a value under ``reg/<Name>``.
        exceptions: check -> why this method does not keep it.
    """

    name: str
    real: Make
    neutral: Make
    uncut: Make
    quiet: Make | None = None
    adapter: Callable[[], Adapter | PeftConfig] = lora
    tasks: tuple[str, ...] = TASKS
    needs_dropout: bool = False
    shapes: bool = False
    in_forward: bool = True
    compiles: bool = True
    logged: bool = True
    exceptions: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The name of the class."""
        return type(self.real()).__name__


ROWS = [
    Row(
        "LabelSmoothing",
        real=lambda: LabelSmoothing(0.1),
        neutral=lambda: LabelSmoothing(0.0),
        uncut=lambda: LabelSmoothing(Open(0.0)),
        quiet=lambda: LabelSmoothing(0.1),
        in_forward=False,
    ),
    Row(
        "NEFTune",
        real=lambda: NEFTune(5.0),
        neutral=lambda: NEFTune(0.0),
        uncut=lambda: NEFTune(Open(0.0)),
        logged=False,
    ),
    Row(
        "Mixout",
        real=lambda: Mixout(0.5),
        neutral=lambda: Mixout(0.0),
        uncut=lambda: Mixout(Open(0.0)),
        logged=False,
    ),
    Row(
        "RDrop",
        real=lambda: RDrop(1.0),
        neutral=lambda: RDrop(0.0),
        uncut=lambda: RDrop(Open(0.0)),
        needs_dropout=True,
        exceptions={
            "uncut": "at weight 0 the definition is the mean of two passes' NLL: the short cut is the neutral setting",
        },
        tasks=("class", "lm"),
    ),
    Row(
        "KLToBase",
        real=lambda: KLToBase(0.5),
        neutral=lambda: KLToBase(0.0),
        uncut=lambda: KLToBase(Open(0.0)),
        quiet=lambda: KLToBase(0.5),
        tasks=("lm",),
        exceptions={"class": "a new head has no base to be compared with"},
    ),
    Row(
        "L2SP",
        real=lambda: L2SP(0.3),
        neutral=lambda: L2SP(0.0),
        uncut=lambda: L2SP(Open(0.0)),
        quiet=lambda: L2SP(0.3),
        in_forward=False,
    ),
    Row(
        "ChildTuning",
        real=lambda: ChildTuning(0.3),
        neutral=lambda: ChildTuning(1.0),
        uncut=lambda: ChildTuning(Open(1.0)),
        quiet=lambda: ChildTuning(0.3),
        shapes=True,
        in_forward=False,
        logged=False,
    ),
    Row(
        "SAM",
        real=lambda: SAM(0.05),
        neutral=lambda: SAM(0.0),
        uncut=lambda: SAM(Open(0.0)),
        quiet=lambda: SAM(0.05),
        shapes=True,
    ),
    Row(
        "FreeLB",
        real=lambda: FreeLB(steps=3),
        neutral=lambda: FreeLB(steps=1, step_size=0.0, init=0.0),
        uncut=lambda: FreeLB(steps=2, step_size=0.0, init=0.0),
        quiet=lambda: FreeLB(steps=2, init=0.0),
        shapes=True,
    ),
    Row(
        "ASAM",
        real=lambda: SAM(0.5, adaptive=True),
        neutral=lambda: SAM(0.0, adaptive=True),
        uncut=lambda: SAM(Open(0.0), adaptive=True),
        quiet=lambda: SAM(0.5, adaptive=True),
        adapter=Full,
        shapes=True,
        in_forward=False,  # as SAM, whose row is compiled
        tasks=("class", "lm"),
    ),
    Row(
        "Mixout-Full",
        real=lambda: Mixout(0.5),
        neutral=lambda: Mixout(0.0),
        uncut=lambda: Mixout(Open(0.0)),
        adapter=Full,
        logged=False,
        tasks=("class", "lm"),
    ),
    Row(
        "KLToBase-reverse-Full",
        real=lambda: KLToBase(0.5, "reverse"),
        neutral=lambda: KLToBase(0.0, "reverse"),
        uncut=lambda: KLToBase(Open(0.0), "reverse"),
        quiet=lambda: KLToBase(0.5, "reverse"),
        adapter=Full,
        tasks=("lm",),
    ),
    Row(
        "ChildTuning-D",
        real=lambda: ChildTuning(0.3, "D"),
        neutral=lambda: ChildTuning(1.0, "D"),
        uncut=lambda: ChildTuning(Open(1.0), "D"),
        quiet=lambda: ChildTuning(0.3, "D"),
        adapter=Full,
        shapes=True,
        in_forward=False,
        logged=False,
        exceptions={
            "gradient": "a tensor without one of the largest Fisher numbers never moves",
            "unsupervised": "it looks at training rows, and refuses when none of them says anything",
            "lora": "at the start B is zero, so that the mask would only say which factor that is: refused",
        },
        tasks=("class", "lm"),
    ),
]
CASES = [(row, task) for row in ROWS for task in row.tasks]
BY_NAME = {row.name: row for row in ROWS}

ON_LORA = {row.name: row for row in ROWS if row.adapter is lora}

REFUSED: dict[frozenset[str], str] = {
    frozenset(["ChildTuning"]): "two masks drawn alike",
    frozenset(["Mixout"]): "one mask twice is no mixture",
    frozenset(["NEFTune"]): "the same noise twice",
    frozenset(["FreeLB"]): "the same balls twice",
}
"""Pairs that cannot be combined (a name alone: two of a kind), and why."""


def of_cases(keep: Callable[[Row], bool] = lambda row: True):
    """Every method on every task it can be used with; only its first task is left to ``make test``."""
    cases = [(row, task) for row in ROWS if keep(row) for task in row.tasks]
    marked = [pytest.param(*case, marks=[pytest.mark.slow] if case[1] != case[0].tasks[0] else []) for case in cases]
    return pytest.mark.parametrize(("row", "task"), marked, ids=case_id)


def case_id(value: Row | str) -> str:
    return value if isinstance(value, str) else value.name
