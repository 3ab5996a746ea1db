"""NEFTune: its size, where it lands, and where it does not."""

import copy
import pickle

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from torch.nn import functional as F
from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration, Gemma3ForCausalLM, Gemma3TextConfig

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data.collate import PadCollator
from finelab.data.pack_collator import FlatCollator, PackCollator
from finelab.models import CausalLM, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.models.regularizers import NEFTune, RDrop

from .. import made_up_targets as made
from .perturbed import Heard, built, forward, texts


def bound(alpha, length, width=32):
    return alpha / (length * width) ** 0.5


def assert_fills(noise, size):
    """Uniform numbers up to ``size``: the largest of a hundred or more is near it."""
    assert 0.9 * size < noise.abs().max().item() < size * (1 + 1e-5)


def test_the_expected_square_is_alpha_squared_over_three_whatever_the_length(sgd):
    """The mean of |noise|^2 over n forwards deviates by 0.894 (alpha^2 / 3) / sqrt(n L d); up to four of those pass."""
    module = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)]))
    heard, lengths, forwards = Heard(module), [3, 8, 24], 200
    batch = PadCollator(0)(texts(lengths))
    squares = []
    for seed in range(forwards):
        forward(module, batch, seed)
        squares.append(heard.noise().square().sum((1, 2)))
    mean = torch.stack(squares).mean(0) / (25 / 3)
    for found, length in zip(mean.tolist(), lengths, strict=True):
        assert abs(found - 1) < 4 * 0.8944 / (forwards * length * 32) ** 0.5
    for row, length in enumerate(lengths):
        assert_fills(heard.noise()[row], bound(5, length))
        assert not heard.noise()[row, length:].any(), "pads are left alone"


def test_hugging_faces_version_divides_by_the_padded_length_and_noises_pads(sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0, hf_compat=True)]))
    heard = Heard(module)
    forward(module, PadCollator(0)(texts([3, 24])))
    for row in heard.noise():
        assert_fills(row, bound(5, 24))
    assert heard.noise()[0, 3:].any()


@pytest.mark.parametrize("flat", [False, True], ids=["packed", "flat"])
def test_packed_samples_get_the_noise_that_they_get_apart(sgd, flat):
    module, rows = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)])), texts([4, 9, 6])
    heard = Heard(module)
    apart, together = PadCollator(0)(rows), FlatCollator(0)(rows) if flat else PackCollator(0)([rows[:2], rows[2:]])
    first, second = (forward(module, batch)[0].logits for batch in (apart, together))
    assert (first - second).abs().max() < 1e-5
    own, packed = heard.noise(0)[apart["attention_mask"].bool()], heard.noise(1)[together["document"] >= 0]
    assert (own - packed).abs().max() < 1e-6


def test_flash_attention_gets_packed_rows_as_one(sgd, monkeypatch):
    module, rows = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)])), texts([4, 9, 6])
    batch = PackCollator(0)([rows[:2], rows[2:]])
    wanted = forward(module, batch)[0].logits
    monkeypatch.setattr(CausalLM, "attention", "flash_attention_2")
    assert (forward(module, batch)[0].logits - wanted).abs().max() < 1e-5


def test_each_choice_has_its_own_length(sgd):
    module = built(made.model("choice", sgd, Full(), regularizers=[NEFTune(5.0)]))
    heard, (batch,) = Heard(module), made.loader("choice", 4, rows=4)
    forward(module, batch)
    real = batch["attention_mask"].any(-1)
    lengths = batch["attention_mask"].sum(-1)[real].tolist()
    assert real.logical_not().any(), "some question has fewer choices"
    assert len(heard.noise()) == len(lengths)
    for noise, length in zip(heard.noise(), lengths, strict=True):
        assert_fills(noise, bound(5, length))
        assert not noise[length:].any()


@pytest.mark.parametrize("kind", made.KINDS)
def test_more_pads_change_nothing(sgd, kind):
    module = built(made.model(kind, sgd, regularizers=[NEFTune(5.0)]), dropout=False)
    narrow, wide = (forward(module, next(iter(made.loader(kind, 4, more=more))))[0].logits for more in (0, 3))
    assert (narrow - wide).abs().max() < 1e-5
    other = forward(module, next(iter(made.loader(kind, 4))), seed=2)[0].logits
    assert (narrow - other).abs().max() > 1e-5, "it acts on this target"


def bart(folder):
    config = BartConfig(vocab_size=258, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
                        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=256,
                        decoder_start_token_id=256)  # fmt: skip
    torch.manual_seed(0)
    BartForConditionalGeneration(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve("tiny://t5").path).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("shared", [False, True], ids=["own modules", "one module"])
@pytest.mark.parametrize("base", ["tiny://t5", "bart"])
def test_an_encoder_decoder_gets_it_on_what_the_encoder_reads(sgd, tmp_path, base, shared):
    """T5 and BART keep three embedding modules of one weight, and the one that they name is never called."""
    base = bart(tmp_path) if base == "bart" else base
    module = Seq2SeqLM(base, Full(), sgd, [NEFTune(5.0)])
    module.configure_model()
    encoder, decoder = module.model.get_encoder(), module.model.get_decoder()
    if shared:
        decoder.embed_tokens = encoder.embed_tokens
    calls = []
    for embedding in {encoder.embed_tokens, decoder.embed_tokens}:
        embedding.register_forward_hook(lambda m, ids, out: calls.append(out - F.embedding(ids[0], m.weight)))
    (batch,) = made.loader("seq2seq", 8)
    forward(module.train(), batch)
    assert [call.shape[:2] for call in calls] == [batch["input_ids"].shape, batch["labels"].shape]
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        assert_fills(calls[0][row], bound(5, length))
    assert not calls[1].any()


def test_an_encoder_of_an_encoder_decoder_has_its_own_embedding(sgd):
    module = built(SequenceClassifier("tiny://t5", Full(), sgd, [NEFTune(5.0)], labels=made.LABELS))
    heard, (batch,) = Heard(module), made.loader("class", 8)
    forward(module, batch)
    assert_fills(heard.noise()[0], bound(5, int(batch["attention_mask"][0].sum())))


ADAPTERS = {
    "lora on the embedding": LoraConfig(target_modules=["q_proj", "embed_tokens"]),
    "embedding trained whole": LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "some tokens trained": LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2]),
    "frozen": LoraConfig(target_modules=["q_proj"]),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapted_embedding_gets_it_once(sgd, name):
    module = built(CausalLM("tiny://llama", ADAPTERS[name], sgd, [NEFTune(5.0)]))
    read = []
    module.model.get_base_model().model.layers[0].register_forward_pre_hook(lambda m, args: read.append(args[0]))
    batch = PadCollator(0)(texts([8]))
    forward(module, batch)
    module.eval()
    module.supervised(batch)
    assert_fills(read[0] - read[1], bound(5, 8))


@pytest.mark.parametrize(("base", "kind"), [("tiny://llama", None), ("tiny://t5", "seq2seq"), ("tiny://bert", "class")])
def test_virtual_tokens_stay_as_they_are(sgd, base, kind):
    prompt = PromptTuningConfig(num_virtual_tokens=4)
    if kind is None:
        module, batch = CausalLM(base, prompt, sgd, [NEFTune(5.0)]), PadCollator(0)(texts([3, 8]))
    else:
        module, batch = made.model(kind, sgd, prompt, regularizers=[NEFTune(5.0)]), next(iter(made.loader(kind, 4)))
    heard = Heard(built(module, dropout=False))
    prompts = module.adapted.get_prompt(len(batch["input_ids"]))
    read = []
    writer = module.adapted.get_base_model()
    writer.register_forward_pre_hook(lambda m, args, kwargs: read.append(kwargs["inputs_embeds"]), with_kwargs=True)
    forward(module, batch)
    real = batch["attention_mask"].bool()
    at = read[0].shape[1] - real.shape[1]
    assert (read[0][:, at:] - heard.plain[0])[~real].abs().max() == 0
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        assert_fills((read[0][:, at:] - heard.plain[0])[row], bound(5, length))
    if at:
        assert torch.equal(read[0][:, :at], prompts[:, :at])


def test_an_embedding_that_scales_its_output_gets_it_after_the_scale(sgd, tmp_path):
    """Gemma multiplies embeddings by the root of the width inside their module."""
    config = Gemma3TextConfig(vocab_size=259, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=8)  # fmt: skip
    torch.manual_seed(0)
    Gemma3ForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(resolve("tiny://llama").path).save_pretrained(tmp_path)
    module = built(CausalLM(str(tmp_path), Full(), sgd, [NEFTune(5.0)]))
    heard, batch = Heard(module), PadCollator(0)(texts([8]))
    forward(module, batch)
    embedding = module.model.get_input_embeddings()
    assert (heard.plain[0] - 32**0.5 * F.embedding(batch["input_ids"], embedding.weight)).abs().max() < 1e-5
    assert_fills(heard.noise(), bound(5, 8))


def test_eval_and_a_reference_forward_get_none(sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)]))
    heard, batch = Heard(module), PadCollator(0)(texts([8]))
    forward(module, batch)
    assert heard.noise().any()
    module.eval()
    module.score(batch)
    assert not heard.noise().any()


def test_a_second_forward_draws_anew_and_dropout_keeps_its_masks(loader, sgd, fit):
    """R-Drop's second forward has other noise; the masks of each first forward are those of the run without noise."""
    noises, masks = [], {}
    for methods in ((), (NEFTune(5.0),), (NEFTune(5.0), RDrop(1.0))):
        module = SequenceClassifier("tiny://bert", Full(), sgd, list(methods), labels=made.LABELS)
        module.configure_model()
        heard, kept = Heard(module), masks.setdefault(len(methods), [])
        module.head.dropout.register_forward_hook(lambda m, i, out, kept=kept: kept.append((out == 0) & (i[0] != 0)))
        fit(module, loader(4, classes=3), max_epochs=1)
        noises = heard
    assert len(masks[0]) == 2
    assert all(torch.equal(a, b) for a, b in zip(masks[0], masks[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(masks[0], masks[2][::2], strict=True))
    assert (noises.noise(0) - noises.noise(1)).abs().max() > 0.1


def test_zero_is_the_baseline_and_its_short_cut_is_only_one(loader, sgd, fit, flat):
    weights = []
    for method, alpha in ((None, 0.0), (NEFTune(0.0), 0.0), (NEFTune(5.0), 0.0), (NEFTune(5.0), 5.0)):
        module = SequenceClassifier("tiny://bert", Full(), sgd, [method] if method else [], labels=made.LABELS)
        module.configure_model()
        for regularizer in module.regularizers:
            regularizer.alpha = alpha
        fit(module, loader(2, classes=3), max_epochs=1)
        weights.append(flat(module))
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[2]).abs().max() < 1e-6
    assert (weights[0] - weights[3]).abs().max() > 1e-3


@pytest.mark.parametrize("adapter", [Full(), LoraConfig(target_modules="all-linear", r=4)], ids=["full", "lora"])
def test_activation_checkpointing_changes_nothing(loader, sgd, fit, flat, adapter):
    weights = []
    for recompute in (False, True):
        loading = Loading(gradient_checkpointing=recompute)
        module = CausalLM("tiny://llama", adapter, sgd, [NEFTune(5.0)], loading=loading)
        fit(module, loader(4), max_epochs=1)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_bf16_autocast_runs(loader, sgd, fit, flat):
    module = CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)])
    fit(module, loader(4), max_epochs=1, precision="bf16-mixed")
    assert flat(module).isfinite().all()


def test_a_copy_of_the_model_hears_nothing_and_can_be_sent_to_another_process(sgd):
    """An average of weights kept in a deep copy must not take the noise that the next training forward is to get."""
    module = built(CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)]))
    pickle.dumps(module.model)
    twin, heard, batch = copy.deepcopy(module.model), Heard(module), PadCollator(0)(texts([8]))
    module.regularizers[0].before_forward(batch)
    plain = twin(input_ids=batch["input_ids"]).logits
    assert torch.equal(plain, twin.eval()(input_ids=batch["input_ids"]).logits)
    module.supervised(batch)
    assert heard.noise().any()


def test_an_embedding_in_eval_mode_is_an_error_and_not_silence(loader, sgd, fit):
    module = CausalLM("tiny://llama", Full(), sgd, [NEFTune(5.0)])
    module.configure_model()
    module.model.get_input_embeddings().eval()
    with pytest.raises(UserError, match="NEFTune acts on the input embedding"):
        fit(module, loader(4), max_epochs=1)


def test_alpha_is_a_size():
    with pytest.raises(UserError, match="alpha=-1"):
        NEFTune(-1.0)
