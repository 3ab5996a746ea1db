"""LoRA and its variants (Hu et al., 2021, arXiv:2106.09685), where they differ from what the bridge assumes."""

from peft import LoraConfig, TaskType
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer
from .adapter import BaseIs
from .kasa import Kasa
from .monteclora import Monteclora
from .peft import Peft, task_of

RESIDUAL = ("pissa", "olora", "corda")
"""Inits that move principal parts of W into the factors: W <- W - s B_0 A_0, so that step 0 is the base."""


class PeftLora(Peft):
    """h = W x + s B A x with A [r, k], B [d, r] and s = alpha / r; trains r (d + k) per layer, B starts at zero.

    Cost: two thin products a layer in the forward; no gradient of W. Merges into W, but for aLoRA (acts on some tokens
    only) and ``layer_replication`` (copies of a layer share their weight). Weight decay pulls B A to zero and so to the
    base. Hurts where the rank is too small for the change that the task needs (new languages, much knowledge).

    Inits that rewrite the base (``RESIDUAL``, LoRA-GA): the factors hold part of W, so that the base is the start and
    not the adapter switched off, and decay would erase that part; they are never decayed. LoftQ and KaSA replace W by
    a quantised or truncated one and ``layer_replication`` stacks layers anew: for these the base is lost.

    Brings the losses of KaSA and MonteCLoRA, in the files of these names.

    Raises:
        UserError: Arrow, which trains nothing; ``adapt``: aLoRA on anything but a causal language model.
    """

    config: LoraConfig

    def __init__(self, config: LoraConfig) -> None:
        if config.arrow_config is not None:
            raise UserError(
                "model.adapter: LoraConfig.arrow_config routes between LoRA adapters that exist already and trains "
                "nothing. Train the adapters first, then build the router with peft.create_arrow_model."
            )
        super().__init__(config)

    @property
    def residual(self) -> bool:
        """Whether the factors start with part of the base's weight, which is taken out of it."""
        return str(self.config.init_lora_weights).startswith(RESIDUAL) or self.config.lora_ga_config is not None

    @property
    def base_is(self) -> BaseIs:
        config = self.config
        if config.init_lora_weights == "loftq" or config.kasa_config is not None or config.layer_replication:
            return "lost"
        return "start" if self.residual else "off"

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        if self.config.alora_invocation_tokens is not None and task_of(backbone) != TaskType.CAUSAL_LM:
            raise UserError(
                "model.adapter: LoraConfig.alora_invocation_tokens acts on the tokens after the invocation of a causal "
                f"language model; with {type(backbone).__name__} it would train nothing. Remove it, or choose CausalLM."
            )
        return super().adapt(backbone)

    @property
    def merges(self) -> bool:
        return self.config.alora_invocation_tokens is None and not self.config.layer_replication

    def regularizers(self) -> list[Regularizer]:
        """What the papers add to the loss and PEFT's forward does not."""
        kasa, monteclora = self.config.kasa_config, self.config.monteclora_config
        terms: list[Regularizer] = [Kasa(kasa.beta, kasa.gamma)] if kasa is not None else []
        return [*terms, Monteclora()] if monteclora is not None else terms

    def undecayed(self, model: nn.Module) -> set[int]:
        factors = {id(p) for name, p in model.named_parameters() if ".lora_" in name and self.residual}
        return factors | super().undecayed(model)
