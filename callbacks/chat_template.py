"""The chat template that a model learned goes with its weights."""

from lightning.pytorch import Callback, LightningModule, Trainer

from ..data.chat_templates import trained_format
from ..models.generative import Generative
from .evaluation import data_of


class ChatTemplate(Callback):
    """Puts the template of a conversation and its hash into the checkpoint's ``finelab.json``."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        chat = trained_format(data_of(trainer))
        if chat is not None and isinstance(pl_module, Generative):
            pl_module.carried = {"chat_template": chat.template, "chat_template_hash": chat.digest}
