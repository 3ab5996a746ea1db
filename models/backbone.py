"""The only file that knows how transformers loads a pretrained model."""

import hashlib
import inspect
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils.hub import cached_file, extract_commit_hash

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from ..contracts.uri import Location, resolve

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Kind = Literal["encoder", "causal_lm", "seq2seq"]
HEADS = {"encoder": AutoModel, "causal_lm": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}


@dataclass(frozen=True)
class Loading:
    """How the base is loaded.

    Args:
        revision: commit, tag or branch of a hub model; pin a commit for a result that lasts.
        dtype: of the weights. Training all weights in bfloat16 loses small updates; float32 with
            ``trainer.precision: bf16-mixed`` does not.
        attention: the attention kernel; None lets transformers choose.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        compile: ``torch.compile`` the adapted backbone, hooks of the regularizers included. Pays for large models and
            rows of few different lengths (``data.loader`` with packing); each new shape costs a compilation. Dropout
            masks stay counted but are other ones than without it, so compare only runs that agree in this.
        weights: ``random`` takes the configuration and the tokenizer of the base and draws the weights anew, by the
            init seed: what the pretraining was worth. The base is then this random model, for forgetting and
            for whatever is anchored to it. Train all of it (``finelab.models.adapters.Full``), longer and at a higher
            learning rate; an adapter that freezes weights would freeze noise.
    """

    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    weights: Literal["pretrained", "random"] = "pretrained"


@dataclass(frozen=True)
class Backbone:
    """A loaded base.

    Args:
        model: in training mode, with gradients on.
        digest: sha256 over its weight files; of a random model over its configuration, with the init seed where that
            has drawn the weights.
        notes: what was changed on loading, for the run's report.
        revision: commit of a hub model; None of a folder.
    """

    model: PreTrainedModel
    digest: str
    notes: tuple[str, ...]
    revision: str | None = None


def load(base: str, kind: Kind, loading: Loading, init_seed: int = 1) -> Backbone:
    """Load a base: safetensors only, never remote code, encoders without their unused pooling layer.

    Args:
        base: hub id, folder, ``pkg://PACKAGE/FOLDER`` or ``tiny://FAMILY``.
        kind: the backbone alone, or with its language-model head (decoder-only, or encoder-decoder).
        loading: how.
        init_seed: draws the weights where they are to be random.

    Raises:
        UserError: the base does not exist, has no safetensors, or is of another kind.
    """
    location = resolve(base)
    try:
        drawn = location.is_random or loading.weights == "random"
        model = from_random(location, kind, loading, init_seed) if drawn else from_files(location, kind, loading)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # a foreign folder
        raise UserError(f"model.base: {base!r} could not be loaded as {kind}: {first_line(error)}") from error
    notes = fit_vocabulary(model, location, loading)
    if loading.weights == "random":
        notes = (f"The weights of {base} are random, drawn by the init seed {init_seed}; none was pretrained.", *notes)
    if loading.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    model.config.use_cache = False
    for note in notes:
        log.warning(note)
    return Backbone(model.train(), digest(location, loading, init_seed), notes, commit(location, loading))


def from_files(location: Location, kind: str, loading: Loading) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(location.path, revision=loading.revision, trust_remote_code=False)
    require_safetensors(location, loading)
    model, info = head(kind, config).from_pretrained(
        location.path,
        config=config,
        revision=loading.revision,
        dtype=DTYPES[loading.dtype],
        attn_implementation=loading.attention,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **without_pooling_layer(kind, config),
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"its files lack {len(missing)} of the weights of {type(model).__name__} ({missing[0]} first), which would "
            "start at random; use a base that has them"
        )
    return model


def require_safetensors(location: Location, loading: Loading) -> None:
    """An index may name any file, and transformers reads what is no safetensors as a pickle.

    Raises:
        ValueError: it names others.
    """
    name, revision = "model.safetensors.index.json", loading.revision
    index = cached_file(location.path, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    if index is None:
        return
    shards = set(json.loads(Path(str(index)).read_text(encoding="utf-8"))["weight_map"].values())
    if other := sorted(str(shard) for shard in shards if not is_plain_safetensors(shard)):
        raise ValueError(f"its {name} names {other[0]!r}, and only safetensors beside it are read, never pickles")


def is_plain_safetensors(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def from_random(location: Location, kind: str, loading: Loading, init_seed: int) -> PreTrainedModel:
    """A tiny:// model, whose weights come from a fixed seed, so that it is the same base in every run; or the model of
    any configuration with weights by the init seed."""
    config = AutoConfig.from_pretrained(location.path, revision=loading.revision, trust_remote_code=False)
    fixed = loading.weights == "pretrained"
    with torch.random.fork_rng():
        torch.manual_seed(derive("tiny", location.uri) if fixed else derive("base", init_seed))
        return head(kind, config).from_config(
            config,
            dtype=DTYPES[loading.dtype],
            attn_implementation=loading.attention,
            **without_pooling_layer(kind, config),
        )


def head(kind: str, config: PreTrainedConfig) -> type:
    """The auto class; of an encoder-decoder the encoder alone, where transformers has it (T5 and its kin)."""
    return AutoModelForTextEncoding if kind == "encoder" and config.is_encoder_decoder else HEADS[kind]


def without_pooling_layer(kind: str, config: PreTrainedConfig) -> dict[str, bool]:
    """BERT-like encoders take an option that leaves out the layer over the first token, which nothing here reads."""
    model_class = AutoModel._model_mapping[type(config)]  # pyright: ignore[reportAttributeAccessIssue]
    takes_it = (
        kind == "encoder"
        and not config.is_encoder_decoder
        and "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    )
    return {"add_pooling_layer": False} if takes_it else {}


def fit_vocabulary(model: PreTrainedModel, location: Location, loading: Loading) -> tuple[str, ...]:
    """Grow the embedding where the tokenizer has ids beyond it; padded larger embeddings are left as they are."""
    tokens = len(AutoTokenizer.from_pretrained(location.path, revision=loading.revision, trust_remote_code=False))
    rows = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    if tokens <= rows:
        return ()
    with torch.random.fork_rng():
        torch.manual_seed(derive("vocabulary", location.uri))
        model.resize_token_embeddings(tokens)
    return (f"The tokenizer of {location.uri} knows {tokens} tokens and its embedding had {rows}: it was resized.",)


def digest(location: Location, loading: Loading, init_seed: int = 1) -> str:
    """What a checkpoint is bound to: the bytes of the base's weights, or what a random model is drawn from."""
    folder = hub_file(location, loading).parent if location.kind == "hub" else Path(location.path)
    is_drawn = loading.weights == "random"
    content = hashlib.sha256(f"random {init_seed}".encode() if is_drawn else b"")
    for file in sorted(folder.glob("config.json" if is_drawn or location.is_random else "*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                content.update(block)
    return content.hexdigest()


def commit(location: Location, loading: Loading) -> str | None:
    """Of a model from the hub; None of others."""
    if location.kind != "hub":
        return None
    return extract_commit_hash(hub_file(location, loading).as_posix(), None) or loading.revision


def hub_file(location: Location, loading: Loading) -> Path:
    """The configuration in the cache of the hub."""
    return Path(str(cached_file(location.path, "config.json", revision=loading.revision)))


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
