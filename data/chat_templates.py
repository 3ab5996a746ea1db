"""The conversations in a data module, whatever its kind."""

from ..contracts.errors import UserError
from .chat_format import ChatFormat
from .conversation import Conversation
from .mixture_data_module import MixtureDataModule
from .text_data_module import TextDataModule


def trained_format(data: object) -> ChatFormat | None:
    """How training rows are written; None where they are no conversations.

    Raises:
        UserError: two sources are written by different templates, so that none can go with the weights.
    """
    if isinstance(data, MixtureDataModule):
        parts = [data.parts[name] for name in data.training_names]
    else:
        parts = [data] if isinstance(data, TextDataModule) else []
    found = {
        chat.template: chat
        for part in parts
        if isinstance(part.template, Conversation) and (chat := part.template.format(part.tokenizer.tokenizer))
    }
    if len(found) > 1:
        raise UserError(
            "data.sources: conversations of two sources have different chat templates; the model would not know which "
            "of them it is asked in. Give all the same chat_template."
        )
    return next(iter(found.values()), None)


def use_template(data: object, text: str) -> None:
    """Write every conversation of a data module by this template."""
    templates = [data.template] if isinstance(data, TextDataModule | MixtureDataModule) else []
    if isinstance(data, MixtureDataModule):
        templates += [spec.template for spec in (*data.sources.values(), *data.eval_sets.values())]
    for template in templates:
        if isinstance(template, Conversation):
            template.chat_template = text
