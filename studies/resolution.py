"""The resolved configurations of a study's arms, as the child process ``finelab resolve`` hands them back."""

from dataclasses import dataclass, field
from typing import Any

from .study import Overrides


@dataclass(frozen=True)
class Variant:
    """What is to be resolved: a base configuration with overrides on it, in order.

    Args:
        name: unique among the variants.
        overrides: (where it is said, overrides); where is ``factor adapter, level lora (study.yaml:12)`` or the like.
    """

    name: str
    overrides: tuple[tuple[str, Overrides], ...]


@dataclass(frozen=True)
class Measured:
    """One variant's own training steps, measured.

    Args:
        seconds_per_step: of an optimizer step on the machine that measured, the median of a few.
        flops_per_step: forward and backward of one step by torch's own counter; None where it cannot count.
        tokens_per_step: input tokens of one step, without pads, as the mean over the training rows.
        planned_steps: optimizer steps of the whole run as configured.
        evaluation_seconds: one pass over the validation rows, estimated.
        peak_memory_bytes: of the process or the accelerator.
        trainable: parameters.
        total: parameters.
    """

    seconds_per_step: float
    flops_per_step: float | None
    tokens_per_step: float
    planned_steps: int
    evaluation_seconds: float
    peak_memory_bytes: int
    trainable: int
    total: int


@dataclass(frozen=True)
class Resolved:
    """One variant, resolved.

    Args:
        config: the whole configuration, without ``run``, as ``finelab fit`` writes it to config.yaml.
        data: fingerprint of its data.
        base: digest of its base's weights.
        measured: where it was asked for.
    """

    config: dict[str, Any]
    data: str
    base: str
    measured: Measured | None = None


@dataclass(frozen=True)
class Resolution:
    """All variants of a study.

    Args:
        variants: name of a variant -> what it is.
        versions: package -> version, of finelab, torch, transformers, peft and lightning.
        code: digest of finelab's own sources and of trusted packages.
    """

    variants: dict[str, Resolved]
    versions: dict[str, str] = field(default_factory=dict)
    code: str = ""
