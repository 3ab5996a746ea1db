"""The callbacks that every run has: attached in code, so that a user's own list cannot lose them."""

import sys
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar

from ..contracts.run import Run
from ..contracts.state_folder import CHECKPOINTS
from .baseline import Baseline
from .best_checkpoint import BestCheckpoint
from .calibration import Calibration
from .card import Card
from .chat_template import ChatTemplate
from .clip_share import ClipShare
from .confusion_figures import ConfusionFigures
from .continuation import Continuation
from .data_report import DataReport
from .differences import Differences
from .factors import class_name
from .final_evaluation import FinalEvaluation
from .forgetting import Forgetting
from .history import History
from .interruption import Interruption
from .measure import Measure
from .movement import Movement
from .order_digest import OrderDigest
from .overfitting import Overfitting
from .packing_check import PackingCheck
from .plain_progress import PlainProgress
from .preflight import Preflight
from .probes import Probes
from .ranks_end import RanksEnd
from .results import Results
from .run_record import RunRecord
from .state_io import StateIO
from .tensor_board import TensorBoard
from .terminal_progress import TerminalProgress
from .throughput import Throughput
from .training_state import TrainingState


def standard_callbacks(run: Run, own: Sequence[Callback] = ()) -> list[Callback]:
    """Everything that watches, keeps and reports a run, in the order in which the end of training needs it.

    The training state comes first, before the user's ``own``: it must be taken before anyone sees the next batch. A
    user's own ``Measure`` replaces the standard one of the same class. Measures stand before the other ``own``, since
    an average of weights is taken back at the end of a validation; ``Probes`` stand before what reads them, and what
    gives evidence before ``Overfitting``.

    The end: clocks stop, the best weights are loaded (by ``FinalEvaluation``, since Lightning runs checkpoint callbacks
    last), everything is evaluated, the record is written, TensorBoard and the card show it.
    """
    results = Results(run.directory)
    throughput, order, history = Throughput(), OrderDigest(), History()
    best = BestCheckpoint(run.directory, run.config.get("monitor"))
    run_record = RunRecord(run, results, best, throughput, order, history)
    place, interruption = run.config.get("run", {}), Interruption()
    standard = [
        TrainingState(run.directory, place.get("save_minutes"), place.get("save_steps"), interruption),
        interruption,
        Continuation(run, results),
        throughput,
        Probes(directory=run.directory),
        Movement(),
        Forgetting(),
        Calibration(),
        *sorted(own, key=_rank),
        DataReport(run.directory),
        ChatTemplate(),
        PackingCheck(),
        Preflight(run.config, run.directory, run.rehearse, results),
        ClipShare(),
        Differences(),
        order,
        history,
        Overfitting(),
        *progress(run.config.get("trainer", {})),
        Baseline(results, evaluate_test=run.evaluate_test),
        FinalEvaluation(results, best, run.evaluate_test),
        ConfusionFigures(results),
        run_record,
        RanksEnd(),
        TensorBoard(run, results),
        Card(run, run_record),
        best,
    ]
    brought = {type(callback) for callback in own if isinstance(callback, Measure)}
    return [each for each in standard if each in own or type(each) not in brought]


def _rank(own: Callback) -> int:
    if not isinstance(own, Measure):
        return 3
    return 0 if isinstance(own, Probes) else 2 if isinstance(own, Overfitting) else 1


def state_io(run: Run) -> StateIO:
    """How the run's training states are written."""
    return StateIO(run.directory / CHECKPOINTS / "best")


def progress(trainer: dict[str, Any]) -> list[ProgressBar]:
    """A bar on a terminal, lines elsewhere; none where the user wants none or brings another (Lightning takes one)."""
    own = any(class_name(entry).endswith(("ProgressBar", "Progress")) for entry in trainer.get("callbacks") or [])
    if own or trainer.get("enable_progress_bar") is False:
        return []
    return [TerminalProgress() if sys.stderr.isatty() else PlainProgress()]
