"""The bridge to Hugging Face PEFT: any ``peft.PeftConfig`` as it is (github.com/huggingface/peft)."""

import copy
import importlib
import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import PickleError
from typing import Any, ClassVar

from peft import (
    PeftConfig,
    PeftModel,
    PeftType,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter, BaseIs, Change
from .effective import changes_in_place, changes_of_layers

WEIGHTS_FILE = "adapter_model.safetensors"
UNSHAPELY = {
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "tokenizer_name_or_path",
}
"""Keys of adapter_config.json that say nothing about the weights' shape or use."""


class Peft(Adapter):
    """Wraps a backbone in the PEFT method that a configuration describes, and saves PEFT's own folder format.

    This class serves every method whose whole story is told by PEFT's forward. One that hides a loss or a call in the
    training loop, or rewrites the base, has a subclass in the file ``peft_<type>.py``; ``as_adapter`` finds it.
    Papers, trained parameters and what works with which task: docs/adapters.md, which is measured and generated.

    The base is found by switching the adapter off. Weights of the base that train in place (``bias="all"``) are not
    switched by PEFT; a copy of them is kept for that. ``modules_to_save`` are switched by PEFT.

    Args:
        config: e.g. ``peft.LoraConfig``; it is copied, since PEFT writes into it, and given the backbone's task type
            where it has none.

    Raises:
        UserError: it lacks an option that its method cannot do without.
    """

    required: ClassVar[tuple[str, ...]] = ()
    """Options that the method cannot do without and PEFT has no default for."""

    def __init__(self, config: PeftConfig) -> None:
        if missing := [option for option in self.required if not getattr(config, option)]:
            raise UserError(
                f"model.adapter: {type(config).__name__} says nothing about {' and '.join(missing)}, which it needs. "
                f"Set model.adapter.{missing[0]}; docs/adapters.md lists what each adapter needs."
            )
        self.config = config
        self.in_place: dict[str, Tensor] = {}

    @property
    def base_is(self) -> BaseIs:
        return "off"

    @property
    def merges(self) -> bool:
        """Whether the update is one of weights; single layers may still refuse it (``merge`` says why)."""
        return True

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        config = self.configured(backbone)
        training, own = backbone.training, {id(p) for p in backbone.parameters()}
        try:
            model = get_peft_model(backbone, config)
        except PickleError as error:
            raise UserError(
                f"model.adapter: the file that {type(config).__name__} is told to start from is a pickle that holds "
                "more than tensors, and was not loaded. Convert it to safetensors."
            ) from error
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError) as error:
            raise UserError(
                f"model.adapter: {type(config).__name__} does not fit {type(backbone).__name__}: {error}"
            ) from error
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise UserError(
                f"model.adapter: {type(config).__name__} left nothing to train in {type(backbone).__name__}; "
                "check its target_modules."
            )
        self.in_place = {name: p.detach().clone() for name, p in trained.items() if id(p) in own}
        return model.train(training)  # X-LoRA leaves it in eval mode

    @contextmanager
    def off(self, model: nn.Module) -> Iterator[None]:
        assert isinstance(model, PeftModel)
        parameters = dict(model.named_parameters())
        trains = {name: p.requires_grad for name, p in parameters.items()}
        tuned = {name: parameters[name].data for name in self.in_place}
        for name, value in self.in_place.items():
            parameters[name].data = self.in_place[name] = value.to(parameters[name].device)
        try:
            with model.disable_adapter():
                yield
        finally:
            for name, value in tuned.items():
                parameters[name].data = value
            for name, p in parameters.items():  # on its way out PEFT marks all of the adapter as trainable
                p.requires_grad_(trains[name])

    def merge(self, model: nn.Module) -> PreTrainedModel:
        assert isinstance(model, PeftModel)
        method = type(self.config).__name__
        if not self.merges:
            raise UserError(
                f"model.adapter: {method} as configured here is not an update of weights and cannot be merged. Load "
                "its folder onto the base with peft.PeftModel.from_pretrained instead."
            )
        if shared := shared_layer(model):
            raise UserError(
                f"model.adapter: {method} cannot be merged into this base: the weight of {shared} is used in several "
                "places (tied embeddings, repeated layers) and merging would change all of them. Leave that layer out "
                "of target_modules, or load the folder onto the base with peft.PeftModel.from_pretrained."
            )
        try:
            return model.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise UserError(f"model.adapter: {method} cannot be merged into this base: {error}") from error

    def undecayed(self, model: nn.Module) -> set[int]:
        """Rows of an embedding and ``modules_to_save`` that train: they are pretrained and no update of that."""
        layers = list(model.modules())
        rows = [layer.trainable_tokens_delta for layer in layers if isinstance(layer, TrainableTokensLayer)]
        whole = [layer.modules_to_save for layer in layers if isinstance(layer, ModulesToSaveWrapper)]
        return {id(p) for part in [*rows, *whole] for p in part.parameters()}

    def changes(self, model: nn.Module) -> list[Change]:
        return [*(changes_of_layers(model) if self.merges else []), *changes_in_place(model, self.in_place)]

    def configured(self, backbone: PreTrainedModel) -> PeftConfig:
        """A copy of the configuration with what the base decides filled in."""
        config = copy.deepcopy(self.config)
        if config.task_type is None:
            config.task_type = task_of(backbone)
        return config

    def save(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        with sets_in_order(*model.peft_config.values()):
            model.save_pretrained(str(folder), save_embedding_layers="auto" if grown_vocabulary(model) else False)

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        state = load_peft_weights(str(folder), device="cpu")
        require_all(model, state, folder)
        set_peft_model_state_dict(model, state)

    def state(self, model: nn.Module) -> dict[str, Any]:
        return {"config": comparable(self.config.to_dict())}

    def restore(self, model: nn.Module, state: dict[str, Any]) -> bool:
        stored, wanted = state["config"], comparable(self.config.to_dict())
        for key in sorted(key for key in stored.keys() & wanted.keys() if "dropout" not in key):
            if stored[key] != wanted[key]:
                raise UserError(
                    f"The training state belongs to another {type(self.config).__name__}: its {key} is "
                    f"{shortened(stored[key])} and this one's is {shortened(wanted[key])}. Go on with the config.yaml "
                    "of its own run."
                )
        return False

    def kept(self, model: PeftModel) -> PeftConfig:
        """The configuration that a folder holds."""
        return model.active_peft_config

    @property
    def shaped_by_data(self) -> frozenset[str]:
        """Keys of it that the user's configuration does not decide."""
        return frozenset()

    def require_same(self, model: PeftModel, folder: Path) -> None:
        """Raises:
        UserError: the folder holds no PEFT adapter, or one of another configuration.
        """
        if not (folder / WEIGHTS_FILE).is_file():
            raise UserError(f"{folder} holds no {WEIGHTS_FILE}; only safetensors are read, never pickles.")
        stored = comparable(json.loads((folder / "adapter_config.json").read_text()))
        wanted = comparable(self.kept(model).to_dict())
        if unknown := sorted(stored.keys() - wanted.keys() - UNSHAPELY):
            raise UserError(
                f"{folder / 'adapter_config.json'} says {', '.join(unknown)}, which this version of PEFT does not know "
                f"of {type(self.config).__name__}: it comes from another version, or was changed. Use the version in "
                "versions.peft of the run's record.json."
            )
        for key in sorted((stored.keys() & wanted.keys()) - self.shaped_by_data):
            if stored[key] != wanted[key]:
                raise UserError(
                    f"{folder} was written by another adapter: its {key} is {shortened(stored[key])} and this "
                    f"one's is {shortened(wanted[key])}. Load it with the config.yaml of its own run."
                )


@contextmanager
def sets_in_order(*configs: PeftConfig) -> Iterator[None]:
    """Equal runs write equal bytes: PEFT writes a set as it is iterated, which depends on the process's hash seed."""
    found = [(vars(config), name, value) for config in configs for name, value in vars(config).items()]
    sets = [(values, name, value) for values, name, value in found if isinstance(value, set)]
    for values, name, value in sets:
        values[name] = sorted(value)
    try:
        yield
    finally:
        for values, name, value in sets:
            values[name] = value


def grown_vocabulary(model: PeftModel) -> bool:
    """Whether the base has more rows than its files, so that a reader of the folder cannot take them from there."""
    config: Any = model.get_base_model().config
    original = type(config).from_pretrained(config.name_or_path, revision=vars(config).get("_commit_hash"))
    return original.vocab_size != config.vocab_size


def require_all(model: PeftModel, state: dict[str, Tensor], folder: Path) -> None:
    """Raises:
    UserError: a tensor is missing that this adapter would save; PEFT keeps what the model has there, in silence.
    """
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    if missing := sorted(wanted - state.keys()):
        raise UserError(
            f"{folder / WEIGHTS_FILE} lacks {len(missing)} of the {len(wanted)} tensors that this adapter saves "
            f"({missing[0]} first), and a model without them would be another one. Write the folder anew."
        )


def task_of(backbone: PreTrainedModel) -> TaskType:
    if backbone.get_output_embeddings() is None:
        return TaskType.FEATURE_EXTRACTION
    return TaskType.SEQ_2_SEQ_LM if backbone.config.is_encoder_decoder else TaskType.CAUSAL_LM


def shared_layer(model: PeftModel) -> str | None:
    """The name of an adapted layer whose weight stands elsewhere in the model too; token rows are written, not added,
    and may."""
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, p in model.named_parameters(remove_duplicate=False):
        names[id(p)].append(name)
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, TrainableTokensLayer):
            own = layer.get_base_layer().parameters(recurse=False)
            if any(len(names[id(p)]) > 1 for p in own):
                return name
    return None


def shortened(value: Any, characters: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON has it, with sets and lists, whose order says nothing, as sorted text."""
    return {
        key: sorted(map(json.dumps, value)) if isinstance(value, set | list | tuple) else json.loads(json.dumps(value))
        for key, value in config.items()
        if key not in UNSHAPELY
    }


def as_adapter(adapter: Adapter | PeftConfig) -> Adapter:
    """What may stand in ``model.adapter``: an adapter of ours, or any PEFT configuration."""
    return bridge_of(adapter)(adapter) if isinstance(adapter, PeftConfig) else adapter


def bridge_of(config: PeftConfig) -> type[Peft]:
    """The class in ``peft_<peft_type>.py``; ``Peft`` itself where there is no such file.

    Raises:
        UserError: a configuration of no method.
    """
    if config.peft_type is None:
        raise UserError(
            f"model.adapter: peft.{type(config).__name__} is what the configurations of PEFT's methods share and "
            "describes none of them. Take one of docs/adapters.md, such as peft.LoraConfig."
        )
    name = f"{__package__}.peft_{PeftType(config.peft_type).value.lower()}"
    if importlib.util.find_spec(name) is None:
        return Peft
    own = vars(importlib.import_module(name)).values()
    return next(c for c in own if isinstance(c, type) and issubclass(c, Peft) and c.__module__ == name)
