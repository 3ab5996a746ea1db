"""Faults in the middle of a run: each has its status and its words, and nothing is lost that was saved before."""

import errno
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import peft.peft_model
import pyarrow.parquet
import pytest
import torch
from safetensors import SafetensorError
from tensorboard.summary.writer.record_writer import RecordWriter

from finelab.callbacks.failure import chain
from finelab.contracts.errors import UserError
from finelab.contracts.record import read_record, write_record
from finelab.contracts.state_folder import latest_state, verify
from finelab.data.token_dataset import TokenDataset

from .stopped_runs import Case, Outcome, compare

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"
NAN, INF = float("nan"), float("inf")


class At(L.Callback):
    """Does something once, at the n-th call of a hook."""

    def __init__(self, hook: str, count: int, act: Callable[..., None]) -> None:
        self.count, self.act = count, act
        setattr(self, hook, self.called)

    def called(self, trainer, pl_module, *rest: Any) -> None:
        self.count -= 1
        if self.count == 0:
            self.act(trainer, pl_module, *rest)


@dataclass
class Fault:
    """One fault.

    Args:
        name: of the test.
        status: that the record shall have.
        message: regular expressions that the record's message shall match.
        make: from a monkeypatch, what puts it into the run.
        workers: processes of the loader.
        saved: whether a state is there by then.
    """

    name: str
    status: str
    message: tuple[str, ...]
    make: Callable[[pytest.MonkeyPatch], L.Callback]
    workers: int = 0
    saved: bool = True


# ---- numbers


def poison(value: float, where: str = "on_train_batch_start", count: int = 8) -> Callable:
    """The head's logits of one batch: the eighth micro-batch of the run is the second of the third step."""

    def act(trainer, module, *rest):
        def spoil(part, inputs, output):
            handle.remove()
            return output * value

        handle = module.head.register_forward_hook(spoil)

    return lambda patch: At(where, count, act)


def poisoned_gradient(value: float) -> Callable:
    def act(trainer, module, *rest):
        p = next(p for p in module.parameters() if p.requires_grad)
        handle = p.register_hook(lambda gradient: (handle.remove(), gradient * value)[1])

    return lambda patch: At("on_train_batch_start", 8, act)


NUMBERS = [
    *(
        Fault(f"logits_{value}", "failed: nonfinite", (r"step 3: nll is not finite, in the batch of samples",), make)
        for value, make in ((v, poison(v)) for v in (NAN, INF, -INF))
    ),
    Fault("logits_first_step", "failed: nonfinite", (r"step 1: nll is not finite",), poison(NAN, count=1)),
    *(
        Fault(f"gradient_{value}", "failed: nonfinite", (r"step 3: the gradient of the objective at \S+lora_A",), make)
        for value, make in ((v, poisoned_gradient(v)) for v in (NAN, INF))
    ),
    Fault(
        "final_metrics",
        "failed: nonfinite",
        ("of the validation split after training is nan",),
        lambda patch: At("on_train_end", 1, lambda trainer, module: spoil_weights(trainer)),
    ),
]


def spoil_weights(trainer) -> None:
    best = next(callback for callback in trainer.callbacks if type(callback).__name__ == "BestCheckpoint")
    finish = best.finish

    def spoiled(trainer, module):
        finish(trainer, module)
        for p in module.head.parameters():
            p.data.fill_(NAN)

    best.finish = spoiled


# ---- memory


def raising(error: BaseException, hook: str = "on_train_batch_end", count: int = 8) -> Callable:
    def act(*_):
        raise error

    return lambda patch: At(hook, count, act)


def in_place_of(find: Callable, name: str, error: Callable[[], Any], hook: str, count: int) -> Callable:
    """The next call of a method raises."""

    def act(trainer, module, *rest):
        owner = find(trainer, module)
        former = getattr(owner, name)

        def broken(*arguments, **options):
            setattr(owner, name, former)
            error()

        setattr(owner, name, broken)

    return lambda patch: At(hook, count, act)


def refuse(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def in_backward(error: BaseException) -> Callable:
    def act(trainer, module, *rest):
        p = next(p for p in module.parameters() if p.requires_grad)

        def hook(gradient):
            handle.remove()
            raise error

        handle = p.register_hook(hook)

    return lambda patch: At("on_train_batch_start", 8, act)


def in_optimizer(error: BaseException) -> Callable:
    def act(trainer, module, *rest):
        optimizer = trainer.optimizers[0]
        step = optimizer.step

        def broken(closure=None):
            optimizer.step = step
            closure()
            raise error

        optimizer.step = broken

    return lambda patch: At("on_train_batch_start", 9, act)


def real_allocation() -> None:
    torch.empty(1 << 50)


def module_of(trainer, module):
    return module


SHAPE = r"input_ids \[4, \d+\] \(rows, tokens\)"
LOWER = r"Lower data\.init_args\.batch_size"
EVALUATION = r"Lower data\.init_args\.loader\.evaluation_batch_size"
TRAINING = "on_train_batch_start"
MEMORY = [
    Fault(
        "cuda_forward",
        "failed: memory",
        ("in the forward pass of a training step, on a batch of " + SHAPE, LOWER, "79.10 GiB"),
        in_place_of(module_of, "supervised", refuse(torch.OutOfMemoryError(CUDA)), TRAINING, 8),
    ),
    Fault(
        "cpu_forward",
        "failed: memory",
        ("in the forward pass of a training step, on a batch of " + SHAPE, LOWER),
        in_place_of(module_of, "supervised", real_allocation, TRAINING, 8),
    ),
    Fault(
        "python_forward",
        "failed: memory",
        ("in the forward pass of a training step", LOWER),
        in_place_of(module_of, "supervised", refuse(MemoryError()), TRAINING, 1),
    ),
    Fault(
        "cuda_backward",
        "failed: memory",
        ("in the backward pass of a training step, on a batch of " + SHAPE, "gradient_checkpointing: true"),
        in_backward(torch.OutOfMemoryError(CUDA)),
    ),
    Fault(
        "cublas_backward",
        "failed: memory",
        ("in the backward pass of a training step",),
        in_backward(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    ),
    Fault(
        "optimizer",
        "failed: memory",
        ("in the optimizer's update, on a batch of " + SHAPE, "bf16-mixed"),
        in_optimizer(torch.OutOfMemoryError(CUDA)),
    ),
    Fault(
        "validation",
        "failed: memory",
        ("in the forward pass of a validation batch, on a batch of", EVALUATION),
        in_place_of(module_of, "score", refuse(torch.OutOfMemoryError(CUDA)), "on_validation_batch_start", 2),
    ),
    Fault(
        "final_evaluation",
        "failed: memory",
        ("in the evaluation of a split, on a batch of", EVALUATION),
        in_place_of(module_of, "score", refuse(torch.OutOfMemoryError(CUDA)), "on_train_end", 1),
    ),
    Fault(
        "fork",
        "failed: memory",
        ("Out of memory in this run",),
        raising(OSError(errno.ENOMEM, "Cannot allocate memory")),
    ),
]


# ---- the disk


def refusing(call: str, number: int, part: str, hook: str = TRAINING, count: int = 8) -> Callable:
    """From some moment on the system refuses a call on every file whose path has ``part`` in it."""

    def make(patch: pytest.MonkeyPatch) -> L.Callback:
        former = getattr(os, call)

        def broken(target, *arguments, **options):
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
            if part in path and (call != "open" or arguments[0] & os.O_WRONLY):
                raise OSError(number, os.strerror(number), path)
            return former(target, *arguments, **options)

        return At(hook, count, lambda *_: patch.setattr(os, call, broken))

    return make


def patched(owner: Any, name: str, error: BaseException, hook: str, count: int = 1) -> Callable:
    def make(patch: pytest.MonkeyPatch) -> L.Callback:
        def broken(*arguments, **options):
            raise error

        return At(hook, count, lambda *_: patch.setattr(owner, name, broken))

    return make


def small_files(patch: pytest.MonkeyPatch) -> L.Callback:
    """The kernel's own refusal: no file may grow beyond 4 KiB (EFBIG), as on a full disk."""

    def act(*_):
        patch.setattr("finelab.callbacks.run_record.write_record", write)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, former[1]))

    def write(record, directory):
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        return write_record(record, directory)

    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    return At("on_validation_start", 1, act)


FULL = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
TORCH_FULL = OSError(errno.ENOSPC, "No space left on device")
DISK = [
    *(
        Fault(
            f"state_{call}_{errno.errorcode[number]}",
            "failed: disk",
            (r"state-\d+\S* could not be written", errno.errorcode[number], r"needs [\d,]+ bytes"),
            refusing(call, number, "state-"),
        )
        for call in ("write", "fsync", "rename")
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
    ),
    Fault("state_open", "failed: disk", ("could not be written", "EACCES"), refusing("open", errno.EACCES, "state-")),
    Fault(
        "state_folder", "failed: disk", ("could not be written", "ENOSPC"), refusing("mkdir", errno.ENOSPC, "state-")
    ),
    Fault("small_files", "failed: disk", ("could not be written|File too large",), small_files),
    Fault(
        "weights_write",
        "failed: disk",
        ("could not be written", "No space left on device"),
        patched(peft.peft_model, "safe_save_file", FULL, "on_validation_start"),
    ),
    Fault(
        "weights_rename",
        "failed: disk",
        ("could not be written",),
        refusing("rename", errno.EACCES, ".best.part", "on_validation_start", 1),
    ),
    Fault(
        "predictions",
        "failed: disk",
        ("could not be written", "No space left on device"),
        patched(pyarrow.parquet, "write_table", TORCH_FULL, "on_train_end"),
    ),
    Fault(
        "events",
        "failed: disk",
        (r"events\.out\.tfevents\S* could not be written \(it holds [\d,]+ bytes\)", "No space left on device"),
        patched(RecordWriter, "write", TORCH_FULL, TRAINING, 4),
    ),
    Fault(
        "report",
        "failed: disk",
        ("could not be written",),
        refusing("replace", errno.EROFS, "data_report.json", "on_fit_start", 1),
        saved=False,
    ),
]


# ---- data


def unreadable_rows(error: BaseException) -> Callable:
    def make(patch: pytest.MonkeyPatch) -> L.Callback:
        def broken(*_):
            raise error

        def act(*_):
            for name in ("__getitem__", "__getitems__"):
                if name in vars(TokenDataset):
                    patch.setattr(TokenDataset, name, broken)

        return At(TRAINING, 4, act)

    return make


def killed_worker(number: int) -> Callable:
    def act(*_):
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)

    return lambda patch: At(TRAINING, 4, act)


def lost_rows(patch: pytest.MonkeyPatch) -> L.Callback:
    def act(trainer, module, *_):
        for file in Path(trainer.datamodule.cache_dir).rglob("*.arrow"):
            os.truncate(file, 0)

    return At(TRAINING, 2, act)


DATA = [
    Fault(
        "io", "failed: data", ("could not be read: OSError", "Put it back"), unreadable_rows(OSError(5, "I/O error"))
    ),
    Fault(
        "value", "failed: data", ("could not be read: ValueError: torn row",), unreadable_rows(ValueError("torn row"))
    ),
    Fault("user_error", "failed: data", ("^row 3 is torn$",), unreadable_rows(UserError("row 3 is torn"))),
    Fault(
        "row_in_a_worker",
        "failed: data",
        ("could not be read: ValueError", "torn row"),
        unreadable_rows(ValueError("torn row")),
        workers=2,
    ),
    Fault(
        "killed_worker",
        "failed: data",
        ("DataLoader worker", "loader.num_workers"),
        killed_worker(signal.SIGKILL),
        workers=2,
    ),
    Fault("truncated_cache", "failed: data", ("DataLoader worker", "Bus error"), lost_rows, workers=2),
]


# ---- anything else


class Odd(Exception):
    def __str__(self) -> str:
        return ""


def own(hook: str, error: BaseException, count: int = 2) -> Callable:
    return raising(error, hook, count)


OTHERS = [
    *(
        Fault(f"callback_{hook}", "failed: error", ("^it broke$",), own(hook, ValueError("it broke"), count))
        for hook, count in (
            (TRAINING, 5),
            ("on_train_batch_end", 5),
            ("on_before_optimizer_step", 2),
            ("on_before_zero_grad", 2),
            ("on_train_epoch_end", 1),
            ("on_validation_batch_end", 2),
            ("on_validation_end", 1),
            ("on_train_end", 1),
            ("on_save_checkpoint", 2),
        )
    ),
    Fault("exit", "failed: error", ("^3$",), raising(SystemExit(3))),
    Fault("without_words", "failed: error", ("^Odd$",), raising(Odd())),
    Fault("user_error_of_a_callback", "failed: error", ("^say so$",), raising(UserError("say so"))),
    Fault("missing_file", "failed: error", ("nothing.txt",), raising(FileNotFoundError(2, "missing", "nothing.txt"))),
    Fault("index", "failed: error", ("out of range",), raising(IndexError("index out of range in self"))),
]
EVERY = [*NUMBERS, *MEMORY, *DISK, *DATA, *OTHERS]
FAST = {"logits_nan", "cuda_forward", "state_fsync_ENOSPC", "value"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all runs lie, so that they have the same rows; and the run without a fault."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, Case(folder, save_steps=1).straight()


def listed():
    return [pytest.param(f, id=f.name, marks=() if f.name in FAST else pytest.mark.slow) for f in EVERY]


@pytest.fixture(autouse=True)
def whole_files():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("fault", listed())
def test_a_fault_is_named_and_nothing_is_lost(fault, place, monkeypatch):
    folder, straight = place
    case, run = Case(folder, save_steps=1, workers=fault.workers), folder / fault.name
    L.seed_everything(7, verbose=False)
    with monkeypatch.context() as patch, pytest.raises(BaseException) as raised:
        case.session(fault.name, fault.make(patch))
    record, state = read_record(run), latest_state(run)
    assert record.status == fault.status, record.error
    # TensorBoard's writer fails once more as Lightning closes it.
    assert record.error["type"] in [type(error).__name__ for error in chain(raised.value)]
    for pattern in fault.message:
        assert re.search(pattern, record.error["message"]), record.error["message"]
    assert "Traceback" in (run / "error.txt").read_text()
    assert (state is not None) == fault.saved
    watches = [case.watched]
    if state is None:
        shutil.rmtree(run)
        L.seed_everything(7, verbose=False)
        watches = []
    else:
        assert verify(state)["step"] <= record.cost.steps
    if fault.name == "truncated_cache":
        shutil.rmtree(folder / "tokens")
    watches.append(case.session(fault.name)[0])
    assert not (run / "error.txt").exists()
    compare(straight, Outcome.of(run, watches))
