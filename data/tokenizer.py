"""The tokenizer of a base, and which token fills up its batches."""

import hashlib
import json
from dataclasses import dataclass

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..contracts.errors import UserError
from ..contracts.uri import resolve

UNLIMITED = 10**9
"""From here on, a tokenizer's ``model_max_length`` stands for: not known."""


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer that can pad.

    Args:
        tokenizer: right-padding.
        base: as the user named it.
        pad: what the report says about the pad token.
        limit: most tokens that the base takes; None where nothing says so (relative positions).
    """

    tokenizer: PreTrainedTokenizerBase
    base: str
    pad: str
    limit: int | None

    @property
    def pad_id(self) -> int:
        pad = self.tokenizer.convert_tokens_to_ids(str(self.tokenizer.pad_token))
        assert isinstance(pad, int)
        return pad

    def digest(self) -> str:
        """Of everything that decides about ids: two folders with the same tokenizer have the same."""
        tokenizer = self.tokenizer
        fast = isinstance(tokenizer, PreTrainedTokenizerFast)
        backend = tokenizer.backend_tokenizer.to_str() if fast else tokenizer.get_vocab()
        specials = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        kind, chat = type(tokenizer).__name__, tokenizer.chat_template
        content = json.dumps([kind, backend, specials, chat], sort_keys=True, default=str)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def load_tokenizer(base: str, revision: str | None = None) -> LoadedTokenizer:
    """The tokenizer that belongs to a base; code from the hub is never run.

    A tokenizer without a pad token pads with its unknown token, else with its end of sequence: an existing id, so that
    no embedding has to grow, and pads are masked anyway.

    Args:
        base: as for the model.
        revision: commit, tag or branch of a hub model.

    Raises:
        UserError: no tokenizer there, or none of these tokens.
    """
    path = resolve(base).path
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=revision, trust_remote_code=False, padding_side="right"
        )
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError) as error:  # a foreign folder
        raise UserError(
            f"model.base {base!r} gave no tokenizer ({str(error).strip().splitlines()[0]}); a base needs its tokenizer "
            "files (tokenizer.json and tokenizer_config.json) beside its weights."
        ) from error
    limit = most_tokens(tokenizer, config)
    if tokenizer.pad_token is not None:
        return LoadedTokenizer(tokenizer, base, f"{tokenizer.pad_token} (its own)", limit)
    for kind in ("unk_token", "eos_token"):
        if (token := getattr(tokenizer, kind)) is not None:
            tokenizer.pad_token = token
            return LoadedTokenizer(
                tokenizer, base, f"{token} (its {kind.removesuffix('_token')}: it has none of its own)", limit
            )
    raise UserError(f"The tokenizer of {base!r} has no pad, unknown or end token to pad with; add a pad token to it.")


def most_tokens(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int | None:
    """The smaller of what the tokenizer and the configuration allow.

    Either alone misleads: RoBERTa has 514 positions of which padding takes two, which only its tokenizer says, and many
    tokenizers say nothing (a huge number).
    """
    positions = getattr(config, "max_position_embeddings", None)
    limits = [tokenizer.model_max_length if tokenizer.model_max_length < UNLIMITED else None, positions]
    return min((limit for limit in limits if limit is not None), default=None)
