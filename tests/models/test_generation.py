"""Generation: batches equal single rows, draws are counted, and budgets and ends hold for every adapter."""

import peft
import pytest
import torch

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.models import CausalLM, Generation, Seq2SeqLM
from finelab.models.adapters import Full

LORA = peft.LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False)
ADAPTERS = {
    "full": Full(),
    "lora": LORA,
    "ia3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prompt": peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prefix": peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}
TEXTS = [b"Once upon a time", b"A", b"The dog and the cat were friends.", b"Why?", b"12"]


@pytest.fixture
def module(sgd):
    def make(kind=CausalLM, base="tiny://llama", adapter=None, **options):
        own = kind(base, adapter or Full(), sgd, **options)
        own.configure_model()
        return own.eval()

    return make


def batch_of(texts, ids=None):
    width = max(map(len, texts))
    rows = torch.tensor([list(text) + [0] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    own = torch.tensor(ids if ids is not None else range(len(texts)))
    return {"input_ids": rows, "attention_mask": mask, "sample_id": own, "source_id": torch.zeros_like(own)}


def by_plain_loop(model, text, new, stop):
    """Greedy, one row, whole passes."""
    ids = list(text)
    for _ in range(new):
        token = model.adapted(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
        if token == stop:
            return ids[len(text) :], True
        ids.append(token)
    return ids[len(text) :], False


@torch.no_grad()
@pytest.mark.parametrize("name", list(ADAPTERS))
def test_a_batch_is_what_a_plain_loop_gives_each_row_alone(name, module):
    model = module(adapter=ADAPTERS[name])
    found = model.generate(batch_of(TEXTS), Generation(max_new_tokens=12))
    for text, row in zip(TEXTS, found, strict=True):
        assert (row.ids, row.ended) == by_plain_loop(model, text, 12, model.tokenizer.eos_token_id)


@torch.no_grad()
@pytest.mark.parametrize("base", ["stories260K", "babyllama-361"])
def test_story_models_end_alike_in_a_batch_and_alone(base, module, shared_model):
    model = module(base=str(shared_model(base)))
    texts = [model.tokenizer(text)["input_ids"] for text in ("Once upon a time", "Lily saw a", "The", "He said: no.")]
    together = model.generate(batch_of(texts), Generation(max_new_tokens=40))
    alone = [model.generate(batch_of([text]), Generation(max_new_tokens=40))[0] for text in texts]
    assert together == alone
    assert model.decoded(texts[0] + together[0].ids).startswith("Once upon a time")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_draws_depend_on_the_row_alone_and_leave_the_global_generator(kind, module):
    model = module() if kind == "causal" else module(Seq2SeqLM, "tiny://t5")
    drawn = Generation(max_new_tokens=8, temperature=1.0, seed=3)
    state = torch.get_rng_state()
    together = model.generate(batch_of(TEXTS), drawn)
    assert torch.equal(torch.get_rng_state(), state)
    assert [model.generate(batch_of([text], [i]), drawn)[0] for i, text in enumerate(TEXTS)] == together
    assert model.generate(batch_of(TEXTS), Generation(max_new_tokens=8, temperature=1.0, seed=4)) != together
    first = model.generate(batch_of([TEXTS[0]] * 2, [0, 1]), drawn)
    assert first[0] != first[1], "equal prompts of two rows are two draws"


@torch.no_grad()
def test_draws_follow_the_distribution(module):
    model = module()
    text = TEXTS[0]
    probabilities = (model.adapted(input_ids=torch.tensor([list(text)])).logits[0, -1] / 0.2).softmax(-1)
    drawn = model.generate(batch_of([text] * 3000), Generation(max_new_tokens=1, temperature=0.2))
    counts = torch.bincount(
        torch.tensor([(row.ids or [model.tokenizer.eos_token_id])[0] for row in drawn]), minlength=259
    )
    assert (counts / 3000 - probabilities).abs().sum() < 0.35
    few = model.generate(batch_of([text] * 200), Generation(max_new_tokens=1, temperature=1.0, top_k=3))
    assert {row.ids[0] for row in few if row.ids} <= set(probabilities.topk(3).indices.tolist())
    one = model.generate(batch_of([text] * 50), Generation(max_new_tokens=1, temperature=1.0, top_p=1e-6))
    assert {row.ids[0] for row in one} == {probabilities.argmax().item()}


@torch.no_grad()
def test_the_budget_ends_where_the_base_has_no_more_positions(module):
    model = module()
    texts = [b"x" * 250, b"x" * 256, b"x" * 10]
    found = model.generate(batch_of(texts), Generation(max_new_tokens=20))
    assert [len(row.ids) for row in found] == [6, 0, 20]
    assert not any(row.ended for row in found)


@torch.no_grad()
def test_a_row_ends_at_its_stop_token(module):
    model = module()
    free = model.generate(batch_of([TEXTS[0]]), Generation(max_new_tokens=10))[0]
    model.stops = [free.ids[4]]
    [row] = model.generate(batch_of([TEXTS[0]]), Generation(max_new_tokens=10))
    assert row.ended and row.ids == free.ids[: free.ids.index(free.ids[4])]


@torch.no_grad()
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_an_encoder_decoder_gives_each_row_its_own_text(adapter, module):
    lora = peft.LoraConfig(target_modules=["q", "v"], r=2, init_lora_weights=False)
    model = module(Seq2SeqLM, "tiny://t5", Full() if adapter == "full" else lora)
    together = model.generate(batch_of(TEXTS), Generation(max_new_tokens=9))
    assert [model.generate(batch_of([text]), Generation(max_new_tokens=9))[0] for text in TEXTS] == together


def scored_alone(model, text, row):
    """Nats of a row's continuation by one whole pass over it."""
    own = torch.tensor([row.ids], dtype=torch.long)
    if model.writer.config.is_encoder_decoder:
        start = torch.full((1, 1), model.writer.config.decoder_start_token_id)
        read = torch.cat([start, own], 1)
        logits = model.adapted(input_ids=torch.tensor([list(text)]), decoder_input_ids=read).logits[0, :-1]
    else:
        logits = model.adapted(input_ids=torch.tensor([list(text) + row.ids])).logits[0]
        logits = logits[len(logits) - len(row.ids) - 1 : -1]
    return -logits.double().log_softmax(-1).gather(-1, own.T).sum().item()


@torch.no_grad()
@pytest.mark.parametrize("how", [{}, {"temperature": 0.7, "top_k": 9}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ["full", "prompt", "prefix", "seq2seq"])
def test_nats_are_those_of_one_pass_over_the_whole_text(name, how, module):
    """Under the model's own distribution, whatever the temperature and the cuts, without the token that stops."""
    model = module(Seq2SeqLM, "tiny://t5") if name == "seq2seq" else module(adapter=ADAPTERS[name])
    if name == "full":  # a token that comes up early, so that rows end before their budget
        model.stops = [model.generate(batch_of(TEXTS), Generation(max_new_tokens=3, **how))[0].ids[2]]
    found = model.generate(batch_of(TEXTS), Generation(max_new_tokens=10, **how))
    assert name != "full" or found[0].ended
    assert [row.nll for row in found] == pytest.approx(
        [scored_alone(model, text, row) for text, row in zip(TEXTS, found, strict=True)], rel=1e-4, abs=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_beams_are_those_of_transformers_for_each_row_alone(kind, module):
    model = module() if kind == "causal" else module(Seq2SeqLM, "tiny://t5")
    found = model.generate(batch_of(TEXTS), Generation(max_new_tokens=9, beams=3))
    stop, alone = model.tokenizer.eos_token_id, []
    for text in TEXTS:
        ids = torch.tensor([list(text)])
        written = model.adapted.generate(
            ids, attention_mask=torch.ones_like(ids), num_beams=3, max_new_tokens=9, do_sample=False, eos_token_id=stop
        )
        new = written[0, ids.shape[1] if kind == "causal" else 1 :].tolist()
        alone.append(new[: new.index(stop)] if stop in new else new)
    assert [row.ids for row in found] == alone
    assert {row.nll for row in found} == {None}, "not followed"
    greedy = model.generate(batch_of(TEXTS), Generation(max_new_tokens=9))
    assert [row.ids for row in greedy] != alone, "beams find other texts than greedy decoding"


def test_the_prompt_of_a_labelled_row_is_what_stands_before_its_last_answer(module):
    model = module()
    batch = batch_of([b"abcdef", b"xyz"])
    batch["labels"] = torch.tensor([[IGNORE, 98, IGNORE, IGNORE, 101, 102], [IGNORE, 121, 122, IGNORE, IGNORE, IGNORE]])
    prompts, answers = model.asked(batch)
    assert (prompts, answers) == ([list(b"abcd"), list(b"x")], [list(b"ef"), list(b"yz")])


def test_a_batch_without_labels_is_predicted_as_text(module):
    with torch.no_grad():
        columns = module().predict_step(batch_of(TEXTS, [4, 5, 6, 7, 8]), 0)
    assert columns["sample_id"] == [4, 5, 6, 7, 8]
    assert all(isinstance(text, str) for text in columns["text"])


def test_a_publishers_sampling_settings_decide_nothing(module):
    model = module()
    model.adapted.generation_config.repetition_penalty = 5.0
    model.adapted.generation_config.do_sample = True
    assert model.writer.generation_config.repetition_penalty is None
    assert model.writer.generation_config.do_sample in (None, False)


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"top_p": 0.0}, {"temperature": -1.0}, {"beams": 2, "temperature": 1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match=r"model\.generation"):
        Generation(**wrong)
