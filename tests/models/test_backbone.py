"""Loading a base: where it lies, what is refused, what is changed and said."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.models.backbone import Loading, load


def folder(tmp_path, safe=True):
    """tiny://llama written out as a user's folder."""
    model = load("tiny://llama", "causal_lm", Loading()).model
    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny://llama").path)
    if safe:
        model.save_pretrained(tmp_path)
    else:
        model.config.save_pretrained(tmp_path)
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    return model, tokenizer


@pytest.mark.parametrize(
    ("uri", "kind"), [("tiny://llama", "causal_lm"), ("tiny://bert", "encoder"), ("tiny://t5", "encoder")]
)
def test_tiny_models_are_the_same_base_every_time(uri, kind):
    torch.manual_seed(1)
    first = load(uri, kind, Loading())
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = load(uri, kind, Loading())
    assert torch.equal(state, torch.get_rng_state())
    assert first.digest == second.digest
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))
    assert first.model.training


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_tiny_models_take_the_same_settings_as_others(attention):
    model = load("tiny://llama", "causal_lm", Loading(attention=attention, dtype="bfloat16")).model
    assert model.config._attn_implementation == attention
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_a_folder_loads_and_its_digest_is_that_of_its_weights(tmp_path):
    model, tokenizer = folder(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load(str(tmp_path), "causal_lm", Loading(dtype="bfloat16"))
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    same = load(str(tmp_path), "causal_lm", Loading()).digest
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path)
    assert loaded.digest == same != load(str(tmp_path), "causal_lm", Loading()).digest


def test_pickled_weights_are_refused(tmp_path):
    folder(tmp_path, safe=False)[1].save_pretrained(tmp_path)
    with pytest.raises(UserError, match="safetensors"):
        load(str(tmp_path), "causal_lm", Loading())


def test_remote_code_is_not_run(tmp_path):
    folder(tmp_path)[1].save_pretrained(tmp_path)
    canary = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="model.base"):
        load(str(tmp_path), "causal_lm", Loading())
    assert not canary.exists()


def test_the_embedding_grows_with_the_tokenizer_and_says_so(tmp_path):
    _, tokenizer = folder(tmp_path)
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(tmp_path)
    loaded = load(str(tmp_path), "causal_lm", Loading())
    assert loaded.model.get_input_embeddings().weight.shape[0] == 261
    assert "261 tokens" in loaded.notes[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path).get_input_embeddings().weight.shape[0] == 259


@pytest.mark.parametrize(
    "uri", ["pkg://no_such_package/model", "tiny://gpt", "./not/here", "pkg://finelab.models/../../etc"]
)
def test_a_base_that_is_not_there_is_one_paragraph(uri):
    with pytest.raises(UserError) as caught:
        load(uri, "encoder", Loading())
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_near_name_is_offered(tmp_path):
    (tmp_path / "stories260K").mkdir()
    with pytest.raises(UserError, match="did you mean .*stories260K"):
        resolve(str(tmp_path / "stories26K"))


def test_a_real_language_model_loads(shared_model):
    loaded = load(str(shared_model("stories260K")), "causal_lm", Loading())
    assert sum(p.numel() for p in loaded.model.parameters()) == 260_032
    assert loaded.notes == ()


def test_a_base_that_lacks_weights_is_refused(tmp_path):
    """transformers would fill them with random numbers and go on."""
    model, tokenizer = folder(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    state = {name: p for name, p in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(UserError, match=r"lack 3 of the weights.*layers\.1\.mlp"):
        load(str(tmp_path), "causal_lm", Loading())


def test_random_weights_follow_the_init_seed_and_nothing_else(tmp_path):
    pretrained, tokenizer = folder(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    random = Loading(weights="random")
    torch.manual_seed(1)
    first = load(str(tmp_path), "causal_lm", random, 1)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = (load(str(tmp_path), "causal_lm", random, seed) for seed in (1, 2))
    assert torch.equal(state, torch.get_rng_state())
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first.model, again.model, other.model)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], torch.cat([p.flatten() for p in pretrained.parameters()]))
    assert first.model.config.to_dict().items() >= {"vocab_size": pretrained.config.vocab_size}.items()
    digests = [first.digest, again.digest, other.digest, load(str(tmp_path), "causal_lm", Loading()).digest]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert "random, drawn by the init seed 1" in first.notes[0]


def test_random_weights_need_no_weight_files(tmp_path):
    model, tokenizer = folder(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert (
        load(str(tmp_path), "causal_lm", Loading(weights="random")).model.config.hidden_size == model.config.hidden_size
    )


def test_a_random_tiny_model_is_another_one_for_each_seed():
    tiny = load("tiny://bert", "encoder", Loading())
    one, other = (load("tiny://bert", "encoder", Loading(weights="random"), seed) for seed in (1, 2))
    first = [next(each.model.parameters()) for each in (tiny, one, other)]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])
    assert len({tiny.digest, one.digest, other.digest}) == 3
