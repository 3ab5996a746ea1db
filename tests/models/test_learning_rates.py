"""Rates of their own in training: they multiply, a schedule multiplies on top, and neutral ones change no bit."""

import functools

import lightning as L
import pytest
import torch
from peft import LoraConfig

from finelab.contracts.errors import UserError
from finelab.models import LayerDecay, LoraPlus, SequenceClassifier, WarmupLinear
from finelab.models.learning_rate import LearningRate, combined
from finelab.models.parameter_groups import MULTIPLIER, parameter_groups

RULES = [LayerDecay(0.5), LoraPlus(16)]


class Named(LearningRate):
    """Says one thing about one parameter."""

    def __init__(self, name, multiplier):
        self.name, self.multiplier = name, multiplier

    def multipliers(self, model):
        return {self.name: self.multiplier}


class Rates(L.Callback):
    """The rate of every parameter at each step, what is logged, and every step's displacement."""

    def __init__(self):
        self.rates, self.logged = [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        owners = {id(p): name for name, p in module.model.named_parameters()}
        groups = optimizer.param_groups
        self.rates.append({owners[id(p)]: group["lr"] for group in groups for p in group["params"]})

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.logged.append(trainer.callback_metrics["train/lr"].item())


@pytest.fixture
def lora(sgd):
    """A BERT classifier with LoRA in which A and B both get gradients from the first step on."""
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)

    def make(rules=None, optimizer=sgd, **options):
        return SequenceClassifier(
            "tiny://bert", config, optimizer, labels=["a", "b", "c"], learning_rates=rules, **options
        )

    return make


def expected_multiplier(name):
    depth = 0 if "head" in name else 1 if ".layer.1." in name else 2
    return 0.5**depth * (16 if "lora_B" in name else 1)


def test_rules_multiply_and_every_parameter_stands_in_one_group(lora):
    module = lora()
    module.configure_model()
    trained = [p for p in module.model.parameters() if p.requires_grad]
    groups = parameter_groups(trained, module.exempt, combined(RULES, module.model))
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(map(id, trained))
    names = {id(p): name for name, p in module.model.named_parameters()}
    for group in groups:
        assert {expected_multiplier(names[id(p)]) for p in group["params"]} == {group[MULTIPLIER]}
        assert {id(p) in module.exempt for p in group["params"]} == {group.get("weight_decay") == 0.0}
    assert [group[MULTIPLIER] for group in groups] == [8.0, 4.0, 1.0, 1.0, 0.5, 0.25]


def test_the_first_step_is_that_much_longer(lora, loader, fit):
    """SGD without clipping: displacement = multiplier * displacement without rules."""
    moved = []
    for rules in (None, RULES):
        module = lora(rules)
        module.configure_model()
        before = {name: p.detach().clone() for name, p in module.model.named_parameters() if p.requires_grad}
        fit(module, loader(8, classes=3), max_epochs=1)
        moved.append({n: p.detach() - before[n] for n, p in module.model.named_parameters() if n in before})
    plain, ruled = moved
    assert all(plain[name].abs().max() > 0 for name in plain if "key" not in name)
    for name, displacement in ruled.items():
        assert torch.allclose(displacement, expected_multiplier(name) * plain[name], atol=1e-6), name


def test_a_schedule_multiplies_on_top_and_the_base_rate_is_logged(lora, loader, fit):
    seen = []
    for rules in (None, RULES):
        rates = Rates()
        module = lora(rules, schedule=WarmupLinear(0.5))
        fit(module, loader(4, classes=3), callbacks=[rates], max_epochs=3, log_every_n_steps=1)
        seen.append(rates)
    plain, ruled = seen
    assert ruled.logged == pytest.approx(plain.logged, rel=1e-6) and len(set(plain.logged)) == 6
    for step, base in enumerate(plain.rates):
        expected = {name: rate * expected_multiplier(name) for name, rate in base.items()}
        assert ruled.rates[step] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rules", [[LayerDecay(1.0)], [LoraPlus(1)], [LayerDecay(1.0), LoraPlus(1)]], ids=len)
def test_neutral_rules_change_no_bit(lora, loader, fit, flat, rules):
    adamw = functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    found = []
    for own in (None, rules):
        module = lora(own, adamw)
        trainer = fit(module, loader(4, classes=3), max_epochs=2)
        found.append((flat(module), [{**g, "params": len(g["params"])} for g in trainer.optimizers[0].param_groups]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad", "RMSprop", "Adafactor", "NAdam"])
def test_any_optimizer_factory(lora, loader, fit, name):
    module = lora(RULES, functools.partial(getattr(torch.optim, name), lr=1e-3))
    trainer = fit(module, loader(8, classes=3), max_epochs=1)
    assert sorted(group["lr"] for group in trainer.optimizers[0].param_groups) == pytest.approx(
        sorted(1e-3 * m for m in (8.0, 4.0, 1.0, 1.0, 0.5, 0.25))
    )


def test_an_optimizer_without_a_rate_is_refused(lora, loader, fit):
    class Self(torch.optim.SGD):
        """Finds its rate itself."""

        def __init__(self, groups):
            super().__init__(groups, lr=0.1)
            for group in self.param_groups:
                group["lr"] = None

    with pytest.raises(UserError, match="Self has none"):
        fit(lora(RULES, Self), loader(8, classes=3), max_epochs=1)


@pytest.mark.parametrize(("name", "value"), [("nothing", 1.0), ("head.linear.bias", 0.0), ("head.linear.bias", -1.0)])
def test_unknown_names_and_rates_that_are_none_are_refused(lora, name, value):
    module = lora()
    module.configure_model()
    with pytest.raises(UserError, match=f"Named gives '{name}' the multiplier {value}"):
        combined([Named(name, value)], module.model)
