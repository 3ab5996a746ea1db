"""With --run, the classes are those of the checkpoint, whatever the data at hand lists."""

from pathlib import Path

from ..contracts.data import LabelledSource, TrainedLabels
from ..contracts.errors import UserError
from ..models.checkpoint_folder import stored_manifest


def read_labels(weights: Path) -> list[str] | None:
    """The label names of a checkpoint folder; None where it has none.

    Raises:
        UserError: its manifest is missing or damaged.
    """
    return stored_manifest(weights).get("labels")


def share_labels(data: object, labels: list[str] | None) -> None:
    """Hand a checkpoint's classes to the data module.

    Raises:
        UserError: it cannot take them, and has others.
    """
    if isinstance(data, TrainedLabels):
        data.use_labels(labels)
    elif isinstance(data, LabelledSource) and data.label_names != labels:
        raise UserError(
            f"The checkpoint was trained for the labels {labels}, and {type(data).__name__} has {data.label_names}; "
            "give the class a method use_labels(names), or use the data that the run was trained on."
        )
