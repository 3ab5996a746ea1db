"""Running out of memory: how it shows, where it happened, on what, and what to lower."""

from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch

SAID = (
    "can't allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same on Windows
    "out of memory",  # CUDA, ROCm and MPS, where it is no OutOfMemoryError
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "Cannot allocate memory",  # fork, mmap
)
PLACES = {
    "generate": "text generation",
    "training_step": "the forward pass of a training step",
    "micro_batch_loss": "the forward pass of a training step",
    "backward": "the backward pass of a training step",
    "shape_gradients": "the gradients' shaping by a regularizer",
    "before_training": "what a regularizer does before training",
    "validation_step": "the forward pass of a validation batch",
    "test_step": "the forward pass of a test batch",
    "evaluate": "the evaluation of a split",
    "save_checkpoint": "saving the training state",
    "optimizer_step": "the optimizer's update",
}
"""Functions and what they are to a user; the innermost one counts."""
EVALUATING = ("text generation", "the forward pass of a validation batch", "the forward pass of a test batch")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(part in str(error) for part in SAID)


def advice(frames: Sequence[FrameType], config: Mapping[str, Any]) -> str:
    """One paragraph.

    Args:
        frames: of the traceback, innermost first. The batch is found in them, so that no training step has to keep it.
        config: the resolved configuration, for the present values of the keys that are named.
    """
    place = next((PLACES[name] for frame in frames if (name := frame.f_code.co_name) in PLACES), "this run")
    evaluates = place in EVALUATING or any(frame.f_code.co_name == "evaluate" for frame in frames)
    shape = batch_shape(frames)
    on = f", on a batch of input_ids {shape} (rows, tokens)" if shape else ""
    lower = evaluation_keys(config) if evaluates else training_keys(config)
    return f"Out of memory in {place}{on}. Lower {lower}."


def batch_shape(frames: Sequence[FrameType]) -> list[int] | None:
    for frame in frames:
        batch = frame.f_locals.get("batch")
        if isinstance(batch, Mapping) and isinstance(ids := batch.get("input_ids"), torch.Tensor):
            return list(ids.shape)
    return None


def training_keys(config: Mapping[str, Any]) -> str:
    data, model = init_args(config, "data"), init_args(config, "model")
    accumulated = config.get("trainer", {}).get("accumulate_grad_batches") or 1
    rows, keys = data.get("batch_size"), []
    if rows is None or rows > 1:
        halved = f" from {rows} to {rows // 2}" if rows else ""
        raised = f" {2 * accumulated}" if rows else " raised alike"
        keys.append(
            f"data.init_args.batch_size{halved} with trainer.accumulate_grad_batches{raised}, which leaves the "
            "optimizer step as it is"
        )
    keys.append(context_key(data))
    if not (model.get("loading") or {}).get("gradient_checkpointing"):
        keys.append("the activations with model.init_args.loading.gradient_checkpointing: true")
    if config.get("trainer", {}).get("precision", "32-true") in ("32-true", "32", 32):
        keys.append("their size with trainer.precision: bf16-mixed")
    return "; or ".join(keys)


def evaluation_keys(config: Mapping[str, Any]) -> str:
    data = init_args(config, "data")
    rows = (data.get("loader") or {}).get("evaluation_batch_size") or 2 * data.get("batch_size", 0)
    now = f" (now {rows})" if rows else ""
    return f"data.init_args.loader.evaluation_batch_size{now}, which changes no result; or {context_key(data)}"


def context_key(data: Mapping[str, Any]) -> str:
    return "data.init_args.context" + (f" (now {data['context']})" if "context" in data else "")


def init_args(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    return (config.get(key) or {}).get("init_args") or {}
