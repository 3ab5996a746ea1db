"""PEFT's prompt tuners through the bridge: what they train, what they keep, and that the base is found again."""

import copy

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    CartridgeConfig,
    CPTConfig,
    LoraConfig,
    MultitaskPromptTuningConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)
from transformers import AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.models import CausalLM, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.adapters.peft import as_adapter
from finelab.models.backbone import Loading, load

from .. import made_up_targets

N, D, H = 4, 32, 16
KV, DEEP = 16, 2 * 2  # width of the key heads of tiny://llama; keys and values of two layers
LSTM = 2 * (4 * H * D + 4 * H * H + 8 * H) + 2 * (4 * H * 2 * H + 4 * H * H + 8 * H)  # two layers, both directions
HEAD_OF_LSTM = 2 * H * 2 * H + 2 * H + 2 * H * D + D

CASES = {
    "random": (PromptTuningConfig(num_virtual_tokens=N), N * D),
    "text": (
        PromptTuningConfig(
            num_virtual_tokens=N,
            prompt_tuning_init="TEXT",
            prompt_tuning_init_text="Is it good?",
            tokenizer_name_or_path="base",
        ),
        N * D,
    ),
    "vocabulary": (PromptTuningConfig(num_virtual_tokens=N, prompt_tuning_init="SAMPLE_VOCAB"), N * D),
    "p_tuning": (
        PromptEncoderConfig(num_virtual_tokens=N, encoder_hidden_size=H),
        N * D + D * H + H + H * H + H + H * D + D,
    ),
    "p_tuning_lstm": (
        PromptEncoderConfig(num_virtual_tokens=N, encoder_hidden_size=H, encoder_reparameterization_type="LSTM"),
        N * D + LSTM + HEAD_OF_LSTM,
    ),
    "prefix": (PrefixTuningConfig(num_virtual_tokens=N), N * DEEP * KV),
    "prefix_zero": (PrefixTuningConfig(num_virtual_tokens=N, init_weights="zero"), N * DEEP * KV),
    "prefix_projection": (
        PrefixTuningConfig(num_virtual_tokens=N, prefix_projection=True, encoder_hidden_size=H),
        N * KV + KV * H + H + DEEP * KV * (H + 1),
    ),
    "cartridge": (CartridgeConfig(num_virtual_tokens=N), (N - 1) * DEEP * KV),
    "multitask": (MultitaskPromptTuningConfig(num_virtual_tokens=N, num_tasks=2, num_ranks=3), N * D + 2 * 3 * (N + D)),
    "cpt": (CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[104, 101, 121, 33]), N * D),
}
OF_ANY_BASE = ["random", "text", "vocabulary", "p_tuning", "p_tuning_lstm"]
OF_A_CACHE = ["prefix", "prefix_zero", "prefix_projection", "cartridge"]
FITTING = {
    "tiny://llama": list(CASES),
    "tiny://bert": OF_ANY_BASE + OF_A_CACHE,
    "tiny://t5": OF_ANY_BASE + OF_A_CACHE,
}
PAIRS = [(base, name) for base, names in FITTING.items() for name in names]
every_pair = pytest.mark.parametrize(("base", "name"), PAIRS)
every_case = pytest.mark.parametrize("name", CASES)


def make(base, name, sgd, **options):
    adapter = copy.deepcopy(CASES[name][0]) if isinstance(name, str) else name
    if base == "tiny://bert":
        return SequenceClassifier(base, adapter, sgd, labels=["a", "b", "c"], **options)
    return (CausalLM if base == "tiny://llama" else Seq2SeqLM)(base, adapter, sgd, **options)


def built(module):
    module.configure_model()
    return module.eval()


@pytest.fixture
def rows(loader):
    """Batches that fit a base; every second row is of the second source."""

    def find(base, micro, width=None):
        if base == "tiny://t5":
            return made_up_targets.loader("seq2seq", micro, more=0 if width is None else 17)
        found = loader(micro, classes=3 if base == "tiny://bert" else None, width=width)
        inner = found.collate_fn

        def of_two_sources(batch):
            collated = inner(batch)
            return collated | {"source_id": collated["sample_id"] % 2}

        found.collate_fn = of_two_sources
        return found

    return find


@every_case
def test_the_formula_of_the_parameters(sgd, name):
    module = built(make("tiny://llama", name, sgd))
    assert module.parameter_counts()[0] == CASES[name][1]


@every_pair
def test_it_trains_and_both_readers_of_the_folder_agree(tmp_path, rows, sgd, fit, base, name):
    module = make(base, name, sgd)
    start = {key: p.detach().clone() for key, p in built(module).named_parameters() if p.requires_grad}
    fit(module.train(), rows(base, 4), max_epochs=1)
    still = [key for key, p in module.named_parameters() if p.requires_grad and torch.equal(p, start[key])]
    assert not still
    batch = next(iter(rows(base, 8)))
    module.save_folder(tmp_path)
    again = built(make(base, name, sgd, seeds=9))
    again.load_folder(tmp_path)
    for key, parameter in again.named_parameters():
        assert torch.equal(parameter, dict(module.named_parameters())[key]), key
    plain = built(make(base, Full(), sgd))
    inner = PeftModel.from_pretrained(load(base, module.kind, Loading()).model, str(tmp_path)).eval()
    if base == "tiny://bert":
        plain.model.backbone, plain.adapter = inner, again.adapter
        plain.head.load_state_dict(module.head.state_dict())
    else:
        plain.adapter, plain.model = again.adapter, plain.build(inner)
    with torch.no_grad():
        tuned = module.eval().score(batch).nll
        assert torch.equal(again.score(batch).nll, tuned)
        assert (plain.score(batch).nll - tuned).abs().max() < 2e-6  # PEFT keeps a computed prompt, rounded once more
        assert (module.score(next(iter(rows(base, 8, width=40)))).nll - tuned).abs().max() < 2e-6


@every_pair
def test_off_is_the_base_bit_for_bit(rows, sgd, base, name):
    module, untouched = built(make(base, name, sgd)), built(make(base, Full(), sgd))
    if base == "tiny://bert":
        untouched.head.load_state_dict(module.head.state_dict())
    batch = next(iter(rows(base, 8)))
    with torch.no_grad():
        tuned = module(batch)
        with module.as_base():
            assert module.adapter.virtual_tokens == module.adapter.preceding == 0
            with module.as_base():
                inside = module(batch)
            assert torch.equal(module(batch).logits, inside.logits)
        again, bare = module(batch), untouched(batch)
    assert torch.equal(inside.logits, bare.logits) and torch.equal(inside.hidden, bare.hidden)
    assert torch.equal(again.logits, tuned.logits) and not torch.equal(tuned.logits, bare.logits)


def test_the_text_of_a_prompt_is_read_by_the_tokenizer_of_the_base(sgd):
    module = built(make("tiny://llama", "text", sgd))
    table = module.model.get_input_embeddings().weight
    prompt = module.model.prompt_encoder["default"].embedding.weight
    ids = AutoTokenizer.from_pretrained(resolve("tiny://llama").path)("Is it good?")["input_ids"]
    assert torch.equal(prompt, table[ids[:N]])
    other = copy.deepcopy(CASES["text"][0])
    other.tokenizer_name_or_path = "bert-base-uncased"
    with pytest.raises(UserError, match="tokenizer_name_or_path: base"):
        built(make("tiny://llama", other, sgd))


def test_a_task_is_a_source(loader, sgd):
    module = built(make("tiny://llama", "multitask", sgd))
    batch = next(iter(loader(8)))
    with torch.no_grad():
        first = module.score(batch | {"source_id": torch.zeros(8, dtype=torch.long)}).nll
        second = module.score(batch | {"source_id": torch.ones(8, dtype=torch.long)}).nll
        mixed = module.score(batch | {"source_id": torch.arange(8) % 2}).nll
    rows = module.score(batch).rows
    assert not torch.equal(first, second)
    assert (mixed - torch.where(rows % 2 == 0, first, second)).abs().max() < 1e-6
    with pytest.raises(UserError, match="num_tasks 2"):
        module.score(batch | {"source_id": torch.full((8,), 2)})


def test_looking_at_a_context_does_not_move_it(loader, sgd, fit):
    """It is kept in a ball, and projecting it twice is projecting it once."""
    module = make("tiny://llama", "cpt", sgd)
    fit(module, loader(4), max_epochs=20)
    encoder, batch = module.model.prompt_encoder["default"], next(iter(loader(8)))
    with torch.no_grad():
        module.eval().score(batch)
        once = encoder.delta_embedding.weight.clone()
        for _ in range(5):
            module.score(batch)
    assert torch.equal(encoder.delta_embedding.weight, once)
    radius = 0.1 * (D / 2048) ** 0.5
    assert once.norm(dim=1).max() <= radius * (1 + 1e-5)
    assert once.norm(dim=1).max() > 0.99 * radius, "this test wants a context at the edge of its ball"


REFUSED = {
    "multitask_encoder": ("tiny://bert", CASES["multitask"][0], "no task to the prompt of an encoder"),
    "multitask_seq2seq": ("tiny://t5", CASES["multitask"][0], "decoder input"),
    "cpt_encoder": ("tiny://bert", CASES["cpt"][0], "causal language models only"),
    "cpt_labels": (
        "tiny://llama",
        CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[1, 2], cpt_tokens_type_mask=[1, 4]),
        "labels inside its context",
    ),
    "adaption_encoder": ("tiny://bert", AdaptionPromptConfig(adapter_len=2, adapter_layers=1), "Unsupported model"),
    "adaption_seq2seq": ("tiny://t5", AdaptionPromptConfig(adapter_len=2, adapter_layers=1), "Unsupported model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused(sgd, case):
    base, config, reason = REFUSED[case]
    with pytest.raises(UserError, match=reason) as refusal:
        make(base, config, sgd).configure_model()
    assert type(config).__name__ in str(refusal.value)


@pytest.mark.parametrize("name", ["prefix", "cartridge"])
def test_an_encoder_without_a_cache_takes_no_prefix(sgd, name):
    module = SequenceClassifier("tiny://t5", CASES[name][0], sgd, labels=["a", "b"])
    with pytest.raises(UserError, match="T5EncoderModel takes none"):
        module.configure_model()


@pytest.mark.parametrize("name", [n for n in CASES if n not in OF_A_CACHE])
def test_activation_checkpointing_changes_nothing(loader, sgd, fit, flat, rows, name):
    weights = []
    for on in (False, True):
        module = make("tiny://llama", name, sgd, loading=Loading(gradient_checkpointing=on))
        fit(module, rows("tiny://llama", 4), max_epochs=2)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-7


@pytest.mark.parametrize("name", OF_A_CACHE)
@pytest.mark.parametrize("base", FITTING)
def test_activation_checkpointing_and_a_cache_are_refused(sgd, base, name):
    with pytest.raises(UserError, match="gradient_checkpointing: false"):
        make(base, name, sgd, loading=Loading(gradient_checkpointing=True)).configure_model()


@every_pair
def test_bf16_autocast_runs(rows, sgd, fit, base, name):
    trainer = fit(make(base, name, sgd), rows(base, 4), max_epochs=1, precision="bf16-mixed")
    assert trainer.callback_metrics["train/nll"].isfinite()


@every_case
def test_weight_decay_leaves_the_prompt_alone(sgd, name):
    module = built(make("tiny://llama", name, sgd))
    assert {id(p) for p in module.parameters() if p.requires_grad} <= module.exempt


@every_case
def test_packed_rows_are_refused(sgd, name):
    module = built(make("tiny://llama", name, sgd))
    ids = torch.randint(0, 256, (1, 8))
    batch = {"input_ids": ids, "labels": ids, "position_ids": torch.arange(8)[None] % 4}
    batch |= {"document": torch.arange(8)[None] // 4, "source_id": torch.zeros(2, dtype=torch.long)}
    with pytest.raises(UserError, match="4 virtual tokens"):
        module.supervised(batch)


@every_case
def test_greedy_text_is_the_argmax_of_whole_passes(sgd, name):
    """Independent of the adapter's trimming: PEFT's own forward, one row at a time."""
    module = built(make("tiny://llama", name, sgd))
    prompts = [list(b"Hello"), list(b"a longer one")]
    width = max(map(len, prompts))
    ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in prompts])
    mask = torch.tensor([[1] * len(p) + [0] * (width - len(p)) for p in prompts])
    asked = {"input_ids": ids, "attention_mask": mask, "sample_id": torch.arange(2), "source_id": torch.arange(2)}
    module.generation = type(module.generation)(max_new_tokens=5)
    with torch.no_grad():
        found = module.predict_step(asked, 0)
        for row, prompt in enumerate(prompts):
            text = list(prompt)
            for _ in range(5):
                more = {"task_ids": torch.tensor([row])} if name == "multitask" else {}
                whole = torch.tensor([text])
                logits = module.model(input_ids=whole, attention_mask=torch.ones_like(whole), **more).logits
                text.append(int(logits[0, -1].argmax()))
                if text[-1] in module.stops:
                    break
            assert found["text"][row] == module.decoded([i for i in text[len(prompt) :] if i not in module.stops])


def test_a_tuner_without_a_file_of_its_own_takes_the_plain_bridge():
    assert type(as_adapter(LoraConfig())).__name__ in ("Peft", "PeftLora")
    assert type(as_adapter(PromptEncoderConfig(num_virtual_tokens=2))).__name__ == "PeftPTuning"
