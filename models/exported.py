"""A tuned model outside of its run: plain Hugging Face files, and beside an encoder its head."""

import copy
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedModel

from ..contracts.errors import UserError
from ..contracts.uri import resolve
from .adapters.adapter import Adapter
from .backbone import Loading
from .checkpoint_folder import NAME, require_files, stored_manifest, write_manifest
from .finetuner import FineTuner
from .generative import Generative
from .headed_encoder import HeadedEncoder


class Merged(Adapter):
    """The weights of an exported folder as they are; nothing of a method is left to be put on them."""

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        return backbone


def write_exported(module: FineTuner, folder: Path, extra: dict[str, Any], chat_template: str | None = None) -> None:
    """Merge a tuned model and write it; ``module`` is not used afterwards.

    A language model becomes a plain folder for ``AutoModelForCausalLM`` or ``AutoModelForSeq2SeqLM``. A headed encoder
    becomes its backbone as a plain folder for ``AutoModel``, with ``head.safetensors`` and ``finelab.json`` beside it,
    which ``load_exported`` reads.

    Args:
        module: built, with the weights that are to be exported.
        folder: exists and is empty.
        extra: for ``finelab.json`` of a headed encoder, beside target, base, pooling and labels.
        chat_template: what a language model was trained with.

    Raises:
        UserError: the adapter does not merge.
    """
    generation = generation_settings(module)
    location, revision = resolve(module.base), module.loading.revision
    backbone = module.adapter.merge(module.adapted)
    restore_config(backbone, AutoConfig.from_pretrained(location.path, revision=revision, trust_remote_code=False))
    if generation is not None:
        backbone.generation_config = generation
    backbone.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(location.path, revision=revision, trust_remote_code=False)
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    if isinstance(module, HeadedEncoder):
        module.save_head(folder)
        write_manifest(folder, module.manifest() | {"exported": True} | extra)


def generation_settings(module: FineTuner) -> GenerationConfig | None:
    """Those of the base; a text ends where it ended in the run, which may be at more tokens than the base's own."""
    if not isinstance(module, Generative):
        return None
    settings = copy.deepcopy(module.pretrained.generation_config) or GenerationConfig()
    settings.eos_token_id = module.stops[0] if len(module.stops) == 1 else module.stops
    return settings


def restore_config(backbone: PreTrainedModel, own: Any) -> None:
    """What loading for training has switched off."""
    if "use_cache" in own.to_dict():
        backbone.config.use_cache = own.use_cache
    else:
        delattr(backbone.config, "use_cache")


def load_exported(
    folder: str | Path, target: type[HeadedEncoder] | None = None, loading: Loading | None = None
) -> HeadedEncoder:
    """Read an exported encoder and its head, ready to predict: in eval mode, on the CPU.

    ``module(batch).logits`` and ``module.predict_step(batch, 0)`` take batches of ``finelab.contracts.batch``;
    ``finelab.scripts.exported.Exported`` takes rows of text.

    Args:
        folder: as ``finelab export`` wrote it; it may have been moved.
        target: the class, where it is none of ``finelab.models``.
        loading: dtype and attention kernel; float32 by default.

    Raises:
        UserError: no such folder, another class, or weights that are not those that were written.
    """
    path = Path(folder).expanduser()
    if not (path / NAME).is_file() and (path / "config.json").is_file():
        raise UserError(
            f"{path} is a plain folder of Hugging Face without a head of finelab (it has no {NAME}), as an exported "
            "language model is: load it with transformers, AutoModelForCausalLM.from_pretrained(FOLDER), or "
            "AutoModelForSeq2SeqLM where it is an encoder-decoder, and AutoTokenizer."
        )
    manifest = stored_manifest(path)
    if "exported" not in manifest:
        raise UserError(f"{path} is a checkpoint of a run and no exported model; finelab export --run RUN makes one.")
    require_files(path, manifest)
    found = target or target_named(manifest["target"], path)
    options = {key: manifest[key] for key in ("labels", "pooling") if key in manifest}
    module = found(str(path), Merged(), torch.optim.SGD, loading=loading, **options)
    module.configure_model()
    module.load_head(path)
    return module.eval()


def reloaded(module: FineTuner, folder: Path) -> FineTuner:
    """What ``write_exported`` wrote from a module, as a module of the same target and type of weights."""
    loading = Loading(dtype=module.loading.dtype, attention=module.loading.attention)
    if isinstance(module, HeadedEncoder):
        return load_exported(folder, type(module), loading)
    plain = type(module)(str(folder), Merged(), torch.optim.SGD, loading=loading)
    plain.configure_model()
    return plain.eval()


def target_named(name: str, folder: Path) -> type[HeadedEncoder]:
    """A class of ``finelab.models``: a folder of weights must not say what code is run.

    Raises:
        UserError: there is none of that name.
    """
    found = getattr(importlib.import_module(__package__ or ""), name, None)
    if isinstance(found, type) and issubclass(found, HeadedEncoder):
        return found
    raise UserError(
        f"{folder} was exported from {name!r}, which is no class of finelab.models for an encoder with a head; give "
        "the class itself: load_exported(FOLDER, target=CLASS)."
    )
