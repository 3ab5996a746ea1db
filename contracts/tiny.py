"""tiny://llama, tiny://bert and tiny://t5: random models of a few thousand weights, for tests without a hub.

A folder with config.json and a byte-level tokenizer (one token a byte, so that any text can be encoded) is written
once to the user's cache; the weights are drawn by the loader from a fixed seed.
"""

import json
import os
import tempfile
from pathlib import Path

VERSION = 1
SPECIALS = {
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    "bert": {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"},
    "t5": {"pad_token": "<pad>", "eos_token": "</s>"},
}
FAMILIES = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
    },
    "bert": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": 258,
    },
    "t5": {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 256,
        "pad_token_id": 256,
        "eos_token_id": 257,
    },
}


def tiny_folder(family: str) -> Path:
    """The folder of one family, written if it is not there yet; safe beside other processes doing the same."""
    root = Path.home() / ".cache" / "finelab" / "tiny"
    folder = root / f"{family}-v{VERSION}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            write_folder(family, made)
            try:
                os.rename(made, folder)
            except OSError:
                if not folder.is_dir():
                    raise
    return folder


def write_folder(family: str, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = SPECIALS[family]
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials.values()])
    ids = {name: (token, len(alphabet) + i) for i, (name, token) in enumerate(specials.items())}
    if family == "bert":
        tokenizer.post_processor = processors.BertProcessing(ids["sep_token"], ids["cls_token"])
    elif family == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[ids["bos_token"]])
    else:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[ids["eos_token"]])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"vocab_size": len(alphabet) + len(specials), **FAMILIES[family]}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, **specials}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
