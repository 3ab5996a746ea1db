"""What a target is made of: pads, pooling, the one shift, streaming metrics, checkpoint folders."""

import json
import math

import lightning as L
import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig
from sklearn.metrics import f1_score
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full, LinearProbe
from finelab.models.backbone import Loading
from finelab.models.classification_meter import ClassificationMeter
from finelab.models.language_model_meter import LanguageModelMeter
from finelab.models.losses import shift
from finelab.models.pooling import pool
from finelab.models.scored import Scored


def built(module):
    module.configure_model()
    return module.eval()


def classifier(sgd, pooling="mean", adapter=None, **options):
    adapter = adapter or LoraConfig(r=4, target_modules="all-linear")
    return built(SequenceClassifier("tiny://bert", adapter, sgd, labels=["a", "b", "c"], pooling=pooling, **options))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pads_change_no_loss_of_a_classifier(loader, sgd, pooling):
    module = classifier(sgd, pooling)
    with torch.no_grad():
        tight, wide = (module.score(next(iter(loader(8, classes=3, width=w)))).nll for w in (None, 40))
    assert (tight - wide).abs().max() < 1e-6


def test_pads_change_no_loss_of_a_language_model(loader, sgd):
    module = built(CausalLM("tiny://llama", Full(), sgd))
    with torch.no_grad():
        tight, wide = (module.score(next(iter(loader(8, width=w)))).nll for w in (None, 40))
    assert len(tight) == len(wide)
    assert (tight - wide).abs().max() < 2e-6


def test_pooling_ignores_pads_on_either_side():
    hidden = torch.arange(24.0).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])
    assert torch.equal(pool(hidden, mask, "mean"), torch.stack([hidden[0, :2].mean(0), hidden[1, 1:].mean(0)]))
    assert torch.equal(pool(hidden, mask, "cls"), torch.stack([hidden[0, 0], hidden[1, 1]]))
    assert torch.equal(pool(hidden, mask, "last"), torch.stack([hidden[0, 1], hidden[1, 3]]))


def test_the_shift_happens_once():
    labels = torch.tensor([[5, 6, 7, IGNORE], [IGNORE, IGNORE, 8, 9]])
    at = shift(labels)
    assert at.targets.tolist() == [6, 7, 8, 9]
    assert at.rows.tolist() == [0, 0, 1, 1]
    assert at.mask.tolist() == [[True, True, False, False], [False, True, True, False]]


def test_language_model_loss_is_that_of_transformers(loader, sgd):
    """transformers shifts unshifted labels itself; the mean over the same tokens must agree."""
    module, batch = built(CausalLM("tiny://llama", Full(), sgd)), next(iter(loader(8)))
    with torch.no_grad():
        ours = module.score(batch).nll.mean()
        theirs = module.model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_hidden_states_are_what_the_last_layer_reads(loader, sgd):
    module, batch = built(CausalLM("tiny://llama", Full(), sgd)), next(iter(loader(8)))
    with torch.no_grad():
        outputs = module(batch)
        assert torch.allclose(module.model.lm_head(outputs.hidden), outputs.logits)


@pytest.mark.parametrize("target", ["classifier", "language model"])
def test_evaluation_loss_does_not_depend_on_the_batch_size(loader, sgd, fit, target):
    found = []
    for size in (1, 7, 32):
        if target == "classifier":
            module, classes = SequenceClassifier("tiny://bert", Full(), sgd, labels=["a", "b", "c"]), 3
        else:
            module, classes = CausalLM("tiny://llama", Full(), sgd), None
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        found.append(trainer.validate(module, loader(size, rows=40, classes=classes), verbose=False)[0])
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6, abs=1e-6, nan_ok=True)


def test_classification_meter_against_scikit_learn_and_a_closed_form():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(50, 4, generator=generator), torch.randint(0, 4, (50,), generator=generator)
    meter = ClassificationMeter(list("abcd"))
    for rows in torch.arange(50).split(7):
        meter.update(Scored.of(logits[rows], targets[rows], rows), {})
    found = meter.compute()
    assert found["nll"] == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    assert found["macro_f1"] == pytest.approx(f1_score(targets, logits.argmax(1), average="macro"), abs=1e-6)


def test_calibration_error_of_the_known_case():
    """Confidences (.95, .85, .65, .55) with outcomes (1, 0, 1, 0): every bin holds one row, so ECE = .45."""
    confidence = torch.tensor([0.95, 0.85, 0.65, 0.55])
    logits = torch.stack([confidence, 1 - confidence], 1).log()
    meter = ClassificationMeter(["no", "yes"])
    meter.update(Scored.of(logits, torch.tensor([0, 1, 0, 1]), torch.arange(4)), {})
    assert meter.compute()["ece"] == pytest.approx(0.45, abs=1e-6)


def test_bits_per_character_of_a_uniform_model():
    """A uniform guess over 8 tokens costs 3 bits a token; 4 tokens that stand for 6 characters and 8 bytes."""
    meter = LanguageModelMeter()
    scored = Scored.of(torch.zeros(4, 8), torch.tensor([1, 2, 3, 4]), torch.zeros(4).long())
    meter.update(scored, {"chars": torch.tensor([6]), "bytes": torch.tensor([8])})
    expected = {"nll": math.log(8), "perplexity": 8.0, "bits_per_char": 2.0, "bits_per_byte": 1.5}
    assert meter.compute() == pytest.approx(expected, abs=1e-6)


def test_example_columns_sum_to_the_loss(loader, sgd):
    module, batch = built(CausalLM("tiny://llama", Full(), sgd)), next(iter(loader(8)))
    with torch.no_grad():
        scored = module.score(batch)
    columns = module.example_columns(scored, batch)
    assert sum(columns["nll"]) == pytest.approx(scored.nll.sum().item(), rel=1e-6)
    assert columns["tokens"] == (batch["labels"][:, 1:] != IGNORE).sum(1).tolist()


@pytest.mark.parametrize(
    "adapter", [LoraConfig(r=4, target_modules="all-linear"), Full(), LinearProbe()], ids=lambda a: type(a).__name__
)
def test_a_saved_classifier_gives_equal_logits(tmp_path, loader, sgd, fit, adapter):
    module = SequenceClassifier("tiny://bert", adapter, sgd, labels=["a", "b", "c"])
    fit(module, loader(4, classes=3))
    module.save_folder(tmp_path)
    other, batch = classifier(sgd, adapter=adapter, seeds=9), next(iter(loader(8, classes=3)))
    with torch.no_grad():
        before = other(batch).logits
        other.load_folder(tmp_path)
        assert not torch.equal(before, other(batch).logits)
        assert torch.equal(module.eval()(batch).logits, other(batch).logits)


def test_plain_peft_loads_the_folder(tmp_path, loader, sgd, fit):
    module = CausalLM("tiny://llama", LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"), sgd)
    fit(module, loader(4))
    module.save_folder(tmp_path)
    fresh = CausalLM("tiny://llama", Full(), sgd)
    fresh.configure_model()
    plain, batch = PeftModel.from_pretrained(fresh.model, str(tmp_path)).eval(), next(iter(loader(8)))
    with torch.no_grad():
        theirs = plain(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[shift(batch["labels"]).mask]
        assert torch.allclose(module.eval()(batch).logits, theirs, atol=1e-6)
    assert sum(f.stat().st_size for f in tmp_path.glob("*.safetensors")) < 40_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_digest": "0" * 64}, "base_digest"),
        ({"labels": ["x", "y", "z"]}, "labels"),
        ({"pooling": "cls"}, "pooling"),
        ({"target": "CausalLM"}, "target"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, sgd, change, message):
    module = classifier(sgd)
    module.save_folder(tmp_path)
    manifest = json.loads((tmp_path / "finelab.json").read_text())
    (tmp_path / "finelab.json").write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=message):
        classifier(sgd).load_folder(tmp_path)


def test_a_folder_of_another_adapter_is_refused(tmp_path, sgd):
    classifier(sgd).save_folder(tmp_path)
    with pytest.raises(UserError, match="another adapter"):
        classifier(sgd, adapter=LoraConfig(r=4, target_modules=["query"])).load_folder(tmp_path)


def test_a_language_model_cannot_be_probed(sgd):
    with pytest.raises(UserError, match="nothing to train"):
        built(CausalLM("tiny://llama", LinearProbe(), sgd))


def test_adapter_starts_as_the_base(loader, sgd):
    """Step 0 of an adapted model is the base, which is how base and tuned are compared at the end."""
    base = built(CausalLM("tiny://llama", Full(), sgd))
    adapted = built(CausalLM("tiny://llama", LoraConfig(r=4, target_modules="all-linear"), sgd))
    batch = next(iter(loader(8)))
    with torch.no_grad():
        assert torch.equal(base(batch).logits, adapted(batch).logits)


def test_trainable_state_goes_back_and_forth(loader, sgd, fit, flat):
    module = classifier(sgd)
    start, weights = module.trainable_state(), flat(module)
    fit(module.train(), loader(4, classes=3))
    assert not torch.equal(flat(module), weights)
    module.load_trainable_state(start)
    assert torch.equal(flat(module), weights)


def test_an_encoder_comes_without_its_unused_pooling_layer(sgd):
    module = classifier(sgd)
    assert not [name for name, _ in module.named_parameters() if "pooler" in name]
    assert [
        n
        for n, _ in AutoModel.from_config(AutoConfig.from_pretrained(resolve("tiny://bert").path)).named_parameters()
        if "pooler" in n
    ]


def test_activation_checkpointing_changes_no_gradient(loader, sgd, fit, flat):
    weights = []
    for on in (False, True):
        adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.1)
        module = CausalLM("tiny://llama", adapter, sgd, loading=Loading(gradient_checkpointing=on))
        fit(module, loader(4))
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-7


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig], ids=lambda c: c.__name__)
def test_virtual_tokens_are_left_out_of_a_language_model(tmp_path, loader, sgd, fit, config):
    """Prompt tuners make outputs longer than the batch; targets, pads and the folder must not notice."""
    module = CausalLM("tiny://llama", config(num_virtual_tokens=4), sgd)
    fit(module, loader(4), max_epochs=1)
    with torch.no_grad():
        module.eval()
        tight, wide = (module.score(next(iter(loader(8, width=w)))).nll for w in (None, 40))
        module.save_folder(tmp_path)
        again = built(CausalLM("tiny://llama", config(num_virtual_tokens=4), sgd, seeds=9))
        again.load_folder(tmp_path)
        reloaded = again.score(next(iter(loader(8)))).nll
    assert len(tight) == len(wide)
    assert (tight - wide).abs().max() < 2e-6
    assert (tight - reloaded).abs().max() < 1e-6


def test_virtual_tokens_are_left_out_of_a_classifier(loader, sgd):
    module = classifier(sgd, adapter=PromptTuningConfig(num_virtual_tokens=4))
    with torch.no_grad():
        tight, wide = (module.score(next(iter(loader(8, classes=3, width=w)))).nll for w in (None, 40))
    assert (tight - wide).abs().max() < 1e-6


@pytest.mark.parametrize("change", [{"r": 8}, {"lora_alpha": 32}], ids=str)
def test_a_folder_of_another_rank_or_scale_is_refused(tmp_path, sgd, change):
    classifier(sgd, adapter=LoraConfig(target_modules="all-linear", **{"r": 4} | change)).save_folder(tmp_path)
    with pytest.raises(UserError, match=next(iter(change))):
        classifier(sgd).load_folder(tmp_path)


def test_pickled_adapters_and_missing_heads_are_refused(tmp_path, sgd):
    module = classifier(sgd)
    module.save_folder(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(UserError, match="head"):
        classifier(sgd).load_folder(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match="never pickles"):
        classifier(sgd).load_folder(tmp_path)


def test_the_encoder_of_an_encoder_decoder_classifies(loader, sgd, fit):
    module = SequenceClassifier("tiny://t5", LoraConfig(r=4, target_modules="all-linear"), sgd, labels=["a", "b", "c"])
    trainer = fit(module, loader(4, classes=3), max_epochs=1)
    assert trainer.callback_metrics["train/nll"].isfinite()
