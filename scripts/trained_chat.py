"""With --run, conversations are written as they were in training, whatever this version's built-in template is."""

from pathlib import Path

from ..data.chat_templates import use_template
from ..models.checkpoint_folder import stored_manifest


def share_chat_template(data: object, weights: Path) -> None:
    """Hand a checkpoint's chat template to the data module.

    Raises:
        UserError: the checkpoint's manifest is missing or damaged.
    """
    if (text := stored_manifest(weights).get("chat_template")) is not None:
        use_template(data, text)
