"""What is particular to the targets beyond one class a text: guesses without a text, choices, words, manifests."""

import json
import math

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.models import MultiLabelClassifier, MultipleChoice, SequenceRegressor, TokenClassifier
from finelab.models.classification_meter import ClassificationMeter
from finelab.models.scored import Scored

from .made_up_targets import KINDS, TAGS, loader, lora, model

LABELLED = {"multi_label": ["a", "b", "c"], "tokens": TAGS}


def built(kind, sgd, **options):
    module = model(kind, sgd, **options)
    module.configure_model()
    return module.eval()


def guessed(module, batch):
    constant = module.constant(module.targets(batch)[0])
    return Scored.of(module.constant_logits(constant, batch), *module.targets(batch), module.likelihood)


@pytest.mark.parametrize("kind", ["class", "tokens", "regression", "multi_label"])
def test_no_other_constant_is_a_better_guess(kind, sgd):
    """The guess is the maximum of the likelihood over constants, so that its gradient is zero."""
    module, batch = built(kind, sgd), next(iter(loader(kind, 60, rows=60)))
    targets, rows = module.targets(batch)
    constant = module.constant(targets).clone().requires_grad_()
    Scored.of(module.constant_logits(constant, batch), targets, rows, module.likelihood).nll.mean().backward()
    assert constant.grad.abs().max() < 1e-6


def test_the_guess_among_choices_is_uniform(sgd):
    module, batch = built("choice", sgd), next(iter(loader("choice", 8)))
    counts = batch["attention_mask"].any(-1).sum(1)
    assert guessed(module, batch).nll.tolist() == pytest.approx([math.log(n) for n in counts.tolist()], rel=1e-6)


def test_a_choice_is_scored_as_if_it_stood_alone(sgd):
    module, batch = built("choice", sgd), next(iter(loader("choice", 8)))
    with torch.no_grad():
        logits = module(batch).logits
        for row, place in ((0, 0), (3, 1), (7, 1)):
            ids = batch["input_ids"][row, place][batch["attention_mask"][row, place].bool()]
            states = module.adapted(input_ids=ids[None], attention_mask=torch.ones(1, len(ids)).long())
            alone = module.head(states.last_hidden_state.mean(1))
            assert logits[row, place].item() == pytest.approx(alone.item(), abs=1e-6)
    assert (logits[~batch["attention_mask"].any(-1)] < -1e8).all()


def test_words_are_read_at_their_first_piece(sgd):
    module, batch = built("tokens", sgd), next(iter(loader("tokens", 8)))
    with torch.no_grad():
        hidden = module.adapted(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        expected = module.head(hidden)[batch["labels"] != IGNORE]
        assert torch.allclose(module(batch).logits, expected, atol=1e-6)
        found = module.predict_step(batch, 0)["tags"]
    assert [len(tags) for tags in found] == (batch["labels"] != IGNORE).sum(1).tolist()


def test_metrics_of_plain_tags_are_those_of_a_classification(sgd):
    assert model("words", sgd).primary == ("accuracy", "max")
    assert model("tokens", sgd).primary == ("f1", "max")
    assert isinstance(built("words", sgd).meter(), ClassificationMeter)


@pytest.mark.parametrize("kind", LABELLED)
def test_a_checkpoint_of_other_labels_is_refused(tmp_path, sgd, kind):
    module = built(kind, sgd)
    module.save_folder(tmp_path)
    manifest = json.loads((tmp_path / "finelab.json").read_text())
    assert manifest["labels"] == LABELLED[kind]
    (tmp_path / "finelab.json").write_text(json.dumps(manifest | {"labels": ["x", "y"]}))
    with pytest.raises(UserError, match="labels"):
        module.load_folder(tmp_path)


@pytest.mark.parametrize("target", [TokenClassifier, MultiLabelClassifier], ids=lambda t: t.__name__)
def test_targets_with_labels_need_two(sgd, target):
    with pytest.raises(UserError, match=target.__name__):
        target("tiny://bert", lora(), sgd, labels=None)


def test_predictions_are_ready_to_be_written(sgd):
    found = {
        kind: built(kind, sgd).predict_step(next(iter(loader(kind, 8))), 0)
        for kind in ("regression", "multi_label", "choice")
    }
    assert all(isinstance(value, float) for value in found["regression"]["prediction"])
    assert all(row.keys() == {"a", "b", "c"} for row in found["multi_label"]["probabilities"])
    held = [[name for name, p in row.items() if p > 0.5] for row in found["multi_label"]["probabilities"]]
    assert found["multi_label"]["labels"] == held
    assert all(0 <= label < 4 for label in found["choice"]["label"])


def test_targets_without_labels_take_none(sgd):
    assert SequenceRegressor("tiny://bert", lora(), sgd).outputs == 1
    assert MultipleChoice("tiny://bert", lora(), sgd).outputs == 1


def measured(rank, ranks, sgd):
    """Every target's metrics of nine rows, each third batch short, spread over the ranks."""
    found = {}
    for kind in KINDS:
        module = built(kind, sgd)
        meter = module.meter()
        with torch.no_grad():
            for place, batch in enumerate(loader(kind, 2, rows=9)):
                if place % ranks == rank:
                    meter.update(module.score(batch), batch)
        found[kind] = meter.compute()
    return found


def measure_as_rank(rank, folder, sgd):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{folder}/meet")
    (folder / f"{rank}.json").write_text(json.dumps(measured(rank, 2, sgd)))
    torch.distributed.destroy_process_group()


def test_two_ranks_measure_what_one_process_measures(tmp_path, sgd):
    """Forked, which is safe without a backward pass, and spares two processes the import of torch."""
    torch.multiprocessing.start_processes(measure_as_rank, (tmp_path, sgd), nprocs=2, start_method="fork")
    one = measured(0, 1, sgd)
    for rank in (0, 1):
        two = json.loads((tmp_path / f"{rank}.json").read_text())
        for kind, metrics in one.items():
            assert two[kind] == pytest.approx(metrics, rel=1e-5, abs=1e-6), kind
