"""What of a configuration a remedy has to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Unknown where a trainer was set up without a configuration.

    Args:
        target: class name of the model.
        adapter: class name.
        rank: of a low-rank adapter.
        dropout: of the adapter.
        rate: learning rate.
        decay: weight decay.
        epochs: at most.
        steps: at most; -1 for no limit.
        regularizers: class names.
        stopping: whether an early stopping is in use.
        base_lost: whether the adapter has lost the base, so that nothing can be held near its predictions.
    """

    target: str = ""
    adapter: str = ""
    rank: int | None = None
    dropout: float | None = None
    rate: float | None = None
    decay: float | None = None
    epochs: int | None = None
    steps: int = -1
    regularizers: tuple[str, ...] = ()
    stopping: bool = False
    base_lost: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Recipe":
        """From a resolved configuration."""
        model, trainer = _arguments(config.get("model")), config.get("trainer") or {}
        adapter, optimizer = _arguments(model.get("adapter")), _arguments(model.get("optimizer"))
        callbacks = [_name(entry) for entry in trainer.get("callbacks") or []]
        rank, steps = adapter.get("r"), trainer.get("max_steps")
        return cls(
            target=_name(config.get("model")),
            adapter=_name(model.get("adapter")),
            rank=rank if isinstance(rank, int) else None,
            dropout=adapter.get("lora_dropout"),
            rate=optimizer.get("lr"),
            decay=optimizer.get("weight_decay"),
            epochs=trainer.get("max_epochs"),
            steps=-1 if steps is None else steps,
            regularizers=tuple(_name(entry) for entry in model.get("regularizers") or []),
            stopping="EarlyStopping" in callbacks,
        )


def _name(entry: Any) -> str:
    return str(entry.get("class_path", "")).rpartition(".")[2] if isinstance(entry, Mapping) else ""


def _arguments(entry: Any) -> Mapping[str, Any]:
    return (entry.get("init_args") or {}) if isinstance(entry, Mapping) else {}
