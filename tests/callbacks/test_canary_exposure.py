"""Exposure of canaries: ranks by an independent loss, rises with training, and leaves training as it is."""

import json
import math

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finelab.callbacks import Baseline, CanaryExposure, FinalEvaluation, Overfitting, Probes
from finelab.callbacks.exposure import BY_CHANCE
from finelab.contracts.errors import UserError
from finelab.data import Canaries, Documents, PromptResponse, TextDataModule

PROMPTED = {"prompt": "{name}?", "response": "{secret}"}


@pytest.fixture
def canaries(tmp_path):
    """A data module with canaries among a few rows."""

    def make(template=None, row=None, **options):
        for split in ("train", "validation"):
            rows = [{"text": f"{split} {i}", "prompt": f"{i}?", "response": f"{split}"} for i in range(4)]
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
        options = {"repeats": [1, 8], "count": 1, "digits": 2} | options
        source = Canaries(str(tmp_path), row=row or {"text": "{name}: {secret}"}, **options)
        template = template or Documents()
        return TextDataModule(source, template, "tiny://llama", 64, 8, cache_dir=str(tmp_path / "cache"))

    return make


def nats(module, data, text):
    """Of a whole document, by hand."""
    ids = torch.tensor([data.tokenizer.tokenizer(text)["input_ids"]])
    found = module.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    return -found.gather(-1, ids[0, 1:, None]).sum().item()


@torch.no_grad()
def test_the_rank_is_that_of_the_loss_of_whole_rows_among_all_secrets(canaries, language_model, fit):
    measure, data, module = CanaryExposure(references=98), canaries(), language_model(rate=0.0)
    trainer = fit(module, data, [measure], max_epochs=1)
    found, source = measure.measure(trainer, module.eval()), data.source
    for own, canary in zip(found, source.canaries, strict=True):
        others = {f"{number:02}" for number in range(100)} - {each.secret for each in source.canaries}
        losses = [nats(module, data, f"{canary.name}: {secret}") for secret in (canary.secret, *others)]
        rank = 1 + sum(loss <= losses[0] for loss in losses[1:])
        assert own.bits == own.low == own.high == pytest.approx(math.log2(99 / rank))
    assert len(found) == 2 and measure.compared == 98


@pytest.mark.parametrize("kind", ["documents", "prompts"])
def test_it_rises_with_training_and_is_kept(kind, canaries, language_model, fit, tmp_path):
    data = canaries() if kind == "documents" else canaries(PromptResponse(), PROMPTED)
    measure, logger = CanaryExposure(references=98), TensorBoardLogger(str(tmp_path / "events"))
    judge = Overfitting()
    watched = [Probes(), measure, judge, Baseline(), FinalEvaluation()]
    fit(language_model(rate=1e-2), data, watched, max_epochs=30, check_val_every_n_epoch=10, logger=logger)
    finding = json.loads(json.dumps(measure.findings()))
    most = math.log2(99)
    assert finding["most"] == pytest.approx(most) and finding["by_chance"] == BY_CHANCE
    assert finding["base"]["exposure"] < 0.6 * most
    assert finding["best"]["exposure_x8"] == pytest.approx(most), "the likeliest of all"
    assert finding["best"]["probability_by_chance"] < 0.01
    assert [own["repeats"] for own in finding["canaries"]] == [1, 8]
    assert judge.verdict is not None
    said = judge.verdict.evidence[-1]
    assert said.name == "canary exposure" and said.value == pytest.approx(finding["best"]["exposure"])
    assert (
        "the canaries rank above secrets that were never inserted; some of that may be" in said.says
        and "6.6, 1.4 by chance" in said.says
    )
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir).Reload()
    curve = [event.value for event in events.Scalars("canary/exposure_x8")]
    assert len(curve) == 4, "of the base and of three validations"
    assert (curve[0], curve[-1]) == pytest.approx((finding["base"]["exposure_x8"], most), rel=1e-5)


def test_it_changes_nothing_and_can_be_left_to_the_ends(canaries, language_model, fit, flat):
    plain, with_it, at_ends = (language_model(rate=1e-3) for _ in range(3))
    fit(plain, canaries(), [], max_epochs=2)
    watching, rare = CanaryExposure(references=5), CanaryExposure(references=5, at_validations=False)
    logged = fit(with_it, canaries(), [watching], max_epochs=2).logged_metrics
    assert "canary/exposure" in logged and "canary/exposure_x1" in logged
    assert "canary/exposure" not in fit(at_ends, canaries(), [rare], max_epochs=2).logged_metrics
    assert torch.equal(flat(plain), flat(with_it)) and torch.equal(flat(plain), flat(at_ends))
    assert "missing" in watching.findings()


def test_the_bases_exposure_survives_a_resume():
    first, second = CanaryExposure(), CanaryExposure()
    first.base = [0.5, 2.0]
    second.load_state_dict(first.state_dict())
    assert second.base == [0.5, 2.0]


def test_rows_without_canaries_and_models_without_text_are_refused(canaries, language_model, classifier, data, fit):
    with pytest.raises(UserError, match="finelab.data.Canaries"):
        fit(language_model(), data("text"), [CanaryExposure()])
    with pytest.raises(UserError, match="writes text"):
        fit(classifier(), data(), [CanaryExposure()])
    with pytest.raises(UserError, match="references is 0"):
        CanaryExposure(references=0)
