"""The chat template that a model learned goes with its weights."""

from lightning.pytorch import Callback, LightningModule, Trainer

from ..data.conversation import Conversation
from ..data.text_data_module import TextDataModule
from ..models.generative import Generative
from .evaluation import data_of


class ChatTemplate(Callback):
    """Puts the template of a conversation and its hash into the checkpoint's ``finelab.json``."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if not isinstance(pl_module, Generative) or not isinstance(data, TextDataModule):
            return
        if isinstance(data.template, Conversation):
            chat = data.template.format(data.tokenizer.tokenizer)
            pl_module.carried = {"chat_template": chat.template, "chat_template_hash": chat.digest}
