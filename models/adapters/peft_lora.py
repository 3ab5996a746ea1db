"""LoRA and its variants (Hu et al., 2021, arXiv:2106.09685), where they differ from what the bridge assumes."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, load_peft_weights, set_peft_model_state_dict
from peft.tuners.lora import initialize_lora_eva_weights
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer, Survey
from .adapter import BaseIs, Change
from .effective import changes_in_place, changes_of_layers
from .kasa import Kasa
from .lora_data import init_of, learns_from_data, look, with_named_layers, with_own_section
from .lora_residual import (
    ADAPTER,
    Start,
    doubled,
    factors,
    joined,
    layers_of,
    move_start,
    parted,
    same_start,
    start_of,
    take_start,
)
from .monteclora import Monteclora
from .peft import Peft, require_all, sets_in_order, task_of
from .velora import projections, take_projections

RESIDUAL = ("pissa", "olora", "corda", "lora_ga")
"""Inits that move principal parts of W into the factors: W <- W - s B_0 A_0, so that step 0 is the base."""

SECTIONS = ("alora_invocation_tokens", "monteclora_config", "velora_config", "use_bdlora", "layer_replication")
"""Options that make another method of it."""


class PeftLora(Peft):
    """h = W x + s B A x with A [r, k], B [d, r] and s = alpha / r; trains r (d + k) per layer, B starts at zero.

    Cost: two thin products a layer in the forward; no gradient of W. Merges into W, but for aLoRA (acts on some tokens
    only) and ``layer_replication`` (copies of a layer share their weight). Weight decay pulls B A to zero and so to the
    base. Hurts where the rank is too small for the change that the task needs (new languages, much knowledge).

    Inits that rewrite the base (``RESIDUAL``, LoRA-GA): the factors hold part of W, so that the base is the start and
    not the adapter switched off, and decay would erase that part; they are never decayed. The folder holds the plain
    LoRA of twice the rank that says the same of the original base (``lora_residual``). LoftQ and KaSA replace W by
    a quantised or truncated one and ``layer_replication`` stacks layers anew: for these the base is lost.

    Brings the losses of KaSA and MonteCLoRA, in the files of these names.

    EVA, CorDA and LoRA-GA learn their start from ``lora_data.ROWS`` training rows: a forward of each (EVA: some rounds,
    until its directions settle; LoRA-GA: and a backward), in ``fit`` only. A folder needs no second look.

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
        super().__init__(with_own_section(config))
        self.start: Start = {}
        self.resumed_start: Start = {}
        self.directions: dict[str, Tensor] = {}
        self.knows_its_start = not learns_from_data(config)

    @property
    def residual(self) -> bool:
        """Whether the factors start with part of the base's weight, which is taken out of it."""
        return init_of(self.config).startswith(RESIDUAL)

    @property
    def base_is(self) -> BaseIs:
        config = self.config
        if config.init_lora_weights == "loftq" or config.kasa_config is not None or config.layer_replication:
            return "lost"
        return "start" if self.residual else "off"

    @property
    def shards(self) -> bool:
        """Plain LoRA, whose whole computation is two thin products inside a layer."""
        more = ("use_dora", "target_parameters", "trainable_token_indices", "modules_to_save", *SECTIONS)
        return (
            self.base_is == "off" and self.config.bias == "none" and not any(vars(self.config)[name] for name in more)
        )

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        if self.config.alora_invocation_tokens is not None and task_of(backbone) != TaskType.CAUSAL_LM:
            raise UserError(
                "model.adapter: LoraConfig.alora_invocation_tokens acts on the tokens after the invocation of a causal "
                f"language model; with {type(backbone).__name__} it would train nothing. Remove it, or choose CausalLM."
            )
        model = super().adapt(backbone)
        if self.directions:
            self.turn(model, {f"base_model.model.{name}": rows for name, rows in self.directions.items()})
        if self.residual:
            if self.resumed_start:
                take_start(model, self.resumed_start, self.scale_last)
            self.start = start_of(model)
        return model

    @property
    def scale_last(self) -> bool:
        """How PEFT's init rounds the product of its factors, see ``move_start``."""
        return init_of(self.config) == "lora_ga"

    def configured(self, backbone: PreTrainedModel) -> PeftConfig:
        config = super().configured(backbone)
        assert isinstance(config, LoraConfig)
        if init_of(config) == "lora_ga":
            config.init_lora_weights = "lora_ga"  # pyright: ignore[reportAttributeAccessIssue]
        if self.residual and (self.resumed_start or not self.knows_its_start):  # brought, to an untouched base
            config.init_lora_weights, config.corda_config, config.lora_ga_config = True, None, None
        return config

    def prepare(self, backbone: PreTrainedModel, survey: Survey) -> None:
        if learns_from_data(self.config) and not (self.resumed_start or self.directions):
            config = super().configured(backbone)
            assert isinstance(config, LoraConfig)
            self.directions = look(with_named_layers(config, backbone), backbone, survey)
            self.knows_its_start = True

    def turn(self, model: nn.Module, directions: dict[str, Tensor]) -> None:
        """Give each layer EVA's rank and directions; one without any becomes the base's own."""
        assert isinstance(model, PeftModel)
        initialize_lora_eva_weights(model, eva_state_dict=directions)
        tuner = model.base_model
        tuner._cast_adapter_dtype(adapter_name=model.active_adapter, autocast_adapter_dtype=True)  # pyright: ignore

    def callbacks(self) -> list[Callback]:
        return [*super().callbacks(), KnownStart(self)] if learns_from_data(self.config) else super().callbacks()

    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        if self.residual:
            assert isinstance(model, PeftModel)
            file = folder / "adapter_model.safetensors"
            save_file(joined(load_file(file), self.start), file, metadata={"format": "pt"})
            config = self.kept(model)
            config.inference_mode = True
            with sets_in_order(config):
                config.save_pretrained(str(folder))

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        state = load_peft_weights(str(folder), device="cpu")
        if init_of(self.config) == "eva":
            self.take_ranks(model, state)
        require_all(model, state, folder)
        if self.residual:
            state, start = parted(state)
            move_start(model, self.start, start, self.scale_last)
            self.start = start
        set_peft_model_state_dict(model, state)
        self.knows_its_start = True

    def state(self, model: nn.Module) -> dict[str, Any]:
        """The start where it is more than base and seed say: what an init learns from data differs between devices, and
        a decomposition between machines."""
        own = {"start": self.start, "directions": self.directions, "projections": projections(model)}
        return super().state(model) | own

    def restore(self, model: nn.Module, state: dict[str, Any]) -> bool:
        super().restore(model, state)
        take_projections(model, state["projections"])
        self.knows_its_start = True
        start, directions = state["start"], state["directions"]
        if same_start(start, self.start) and same_tensors(directions, self.directions):
            return False
        self.resumed_start, self.directions = start, directions
        return True

    def loaded_start(self, model: nn.Module) -> dict[str, Tensor]:
        pairs = [
            (f"{name}.lora_{part}.{ADAPTER}.weight", start)
            for name, pair in self.start.items()
            for part, start in zip("AB", pair, strict=True)
        ]
        return dict(pairs)

    def take_ranks(self, model: PeftModel, state: dict[str, Tensor]) -> None:
        """Of a folder, where EVA has shared out the ranks otherwise."""
        stored = {name: state.get(f"{name}.lora_A.weight") for name in layers_of(model)}
        own = {name: factors(layer)[0] for name, layer in layers_of(model).items()}
        stored = {name: own[name][:0] if a is None else a for name, a in stored.items()}
        if any(a.shape != own[name].shape for name, a in stored.items()):
            self.turn(model, {name: a.to(own[name]) for name, a in stored.items()})

    def kept(self, model: PeftModel) -> PeftConfig:
        config = super().kept(model)
        assert isinstance(config, LoraConfig)
        return doubled(config) if self.residual else config

    @property
    def shaped_by_data(self) -> frozenset[str]:
        eva = init_of(self.config) == "eva"
        return frozenset({"rank_pattern", "alpha_pattern", "target_modules"} if eva else ())

    @property
    def merges(self) -> bool:
        return self.config.alora_invocation_tokens is None and not self.config.layer_replication

    def regularizers(self) -> list[Regularizer]:
        """What the papers add to the loss and PEFT's forward does not."""
        kasa, monteclora = self.config.kasa_config, self.config.monteclora_config
        terms: list[Regularizer] = [Kasa(kasa.beta, kasa.gamma)] if kasa is not None else []
        return [*terms, Monteclora()] if monteclora is not None else terms

    def changes(self, model: nn.Module) -> list[Change]:
        if not self.residual:
            return super().changes(model)
        return [*changes_of_layers(model, self.start), *changes_in_place(model, self.in_place)]

    def undecayed(self, model: nn.Module) -> set[int]:
        factors = {id(p) for name, p in model.named_parameters() if ".lora_" in name and self.residual}
        return factors | super().undecayed(model)


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x.cpu(), other[name].cpu()) for name, x in one.items())


class KnownStart(Callback):
    """Refuses to train an init that learns from data where the model was built before there was any."""

    def __init__(self, adapter: PeftLora) -> None:
        self.adapter = adapter

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.adapter.knows_its_start:
            raise UserError(
                f"model.adapter: the init {init_of(self.adapter.config)} learns from training rows, and this model was "
                "built before fit without any. Let trainer.fit build it (call configure_model only where you do not "
                "train), or load a folder of weights first."
            )
