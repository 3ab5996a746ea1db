"""With --run, conversations are written as they were in training, whatever this version's built-in template is."""

from pathlib import Path

from ..data.conversation import Conversation
from ..data.text_data_module import TextDataModule
from ..models.checkpoint_folder import stored_manifest


def share_chat_template(data: object, weights: Path) -> None:
    """Hand a checkpoint's chat template to the data module.

    Raises:
        UserError: the checkpoint's manifest is missing or damaged.
    """
    if isinstance(data, TextDataModule) and isinstance(data.template, Conversation):
        data.template.chat_template = stored_manifest(weights).get("chat_template", data.template.chat_template)
