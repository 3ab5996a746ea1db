"""Cartridges through PEFT (Eyuboglu et al., arXiv:2506.06266)."""

from .peft_prefix_tuning import PeftPrefixTuning


class PeftCartridge(PeftPrefixTuning):
    """Prefix tuning whose first ``num_frozen_tokens`` keys and values stay as they start, as a sink of attention:
    2 (n - frozen) L d_kv parameters.

    The start is random here. The paper's better one, the keys and values of the first tokens of a text, is a separate
    call of PEFT (``initialize_kv_prefix_from_text``) that no configuration reaches. Its self-study data and its
    distillation loss are no part of PEFT either.
    """
