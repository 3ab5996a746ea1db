"""What to try, from what was found and what is in use already."""

from ...contracts.verdict import Remedy
from .facts import Facts
from .recipe import Recipe

METHODS = "finelab.models.regularizers"
MOST = 2
PATIENCE = Remedy("more patience in early stopping", "")


def remedies(finding: str, facts: Facts, recipe: Recipe, stopped: bool) -> list[Remedy]:
    """At most two, the most promising first; none for a healthy run or an unclear one.

    Args:
        finding: of the judge.
        facts: that it rests on.
        recipe: what is in use.
        stopped: early stopping ended the run before its plan did, which a longer plan would not change.
    """
    if finding in ("overfitting", "not carried over"):
        return _against_overfitting(facts, recipe)[:MOST]
    if finding in ("underfitting", "behind", "nothing learned"):
        return [_rate(recipe, 3.0, "a higher learning rate"), PATIENCE if stopped else _longer(recipe)]
    if finding == "diverging":
        return [_rate(recipe, 1 / 3, "a lower learning rate")]
    return []


def _against_overfitting(facts: Facts, recipe: Recipe) -> list[Remedy]:
    """A shorter run where the best came early and no row is memorised; else a penalty first, since the best weights
    are kept anyway and only a penalty can make better ones."""
    shorter, penalty = _shorter(facts, recipe), _penalty(facts, recipe)
    early = facts.best <= (len(facts.steps) - 1) / 2
    memorised = facts.membership is not None and facts.membership.interval()[0] > 0.6
    ordered = [shorter, penalty] if early and not memorised else [penalty, shorter]
    return [one for one in [*ordered, _smaller(recipe)] if one is not None]


def _penalty(facts: Facts, recipe: Recipe) -> Remedy | None:
    """The first that fits the target and what was seen, and is not there yet.

    Smoothed labels first where only confidence is lost; KLToBase needs a base that can do the task and that the adapter
    has not lost; R-Drop compares forwards that differ, so that there has to be dropout; Mixout wants trained linear
    weights; L2-SP fits whatever trains and does little in a short run.
    """
    is_text = recipe.target in ("CausalLM", "Seq2SeqLM")
    labels = recipe.target in ("SequenceClassifier", "TokenClassifier", "MultiLabelClassifier", "MultipleChoice")
    confident = facts.accuracy is not None and facts.accuracy.interval()[1] >= 0
    drops = bool(recipe.dropout) or recipe.target not in ("", "CausalLM")  # decoders mostly come without dropout
    offers = [
        ("LabelSmoothing", "epsilon=0.1", "softer targets", labels and confident),
        ("KLToBase", "weight=0.1", "predictions held near the base's", is_text and not recipe.base_lost),
        ("RDrop", "weight=1.0", "two dropout masks that have to agree", drops),
        ("Mixout", "p=0.5", "the base's weights mixed in", recipe.adapter == "Full"),
        ("L2SP", "weight=0.1", "weights held near the base's", True),
        ("LabelSmoothing", "epsilon=0.1", "softer targets", labels),
    ]
    for name, setting, what, fits in offers:
        if fits and name not in recipe.regularizers:
            override = f"--model.regularizers+={METHODS}.{name} --model.regularizers.{setting}"
            return Remedy(f"{what} ({name})", override)
    return None


def _shorter(facts: Facts, recipe: Recipe) -> Remedy | None:
    """As long as the run was good for, or a stop by the validation loss."""
    part = float(facts.steps[facts.best]) / float(facts.steps[-1])
    if recipe.epochs and recipe.epochs > 0 and recipe.steps < 0:
        epochs = max(1, round(part * recipe.epochs))
        if epochs < recipe.epochs:
            return Remedy(_epochs(epochs), f"--trainer.max_epochs={epochs}")
    if recipe.steps > 0 and 0 < (steps := int(facts.steps[facts.best])) < recipe.steps:
        return Remedy(f"{steps:,} steps", f"--trainer.max_steps={steps}")
    if not recipe.stopping:
        return Remedy("early stopping", "--trainer.callbacks+=finelab.callbacks.EarlyStopping")
    return None


def _smaller(recipe: Recipe) -> Remedy | None:
    if recipe.dropout == 0.0:
        return Remedy("dropout in the adapter", "--model.adapter.init_args.lora_dropout=0.1")
    if recipe.rank is not None and recipe.rank > 1:
        rank = max(1, recipe.rank // 4)
        return Remedy(f"a smaller adapter (rank {rank})", f"--model.adapter.init_args.r={rank}")
    if recipe.adapter == "Full":
        return Remedy("a LoRA adapter", "--model.adapter=peft.LoraConfig --model.adapter.target_modules=all-linear")
    return None


def _longer(recipe: Recipe) -> Remedy:
    if recipe.steps > 0:
        return Remedy(f"{3 * recipe.steps:,} steps", f"--trainer.max_steps={3 * recipe.steps}")
    if recipe.epochs and recipe.epochs > 0:
        return Remedy(_epochs(3 * recipe.epochs), f"--trainer.max_epochs={3 * recipe.epochs}")
    return Remedy("more epochs", "")


def _rate(recipe: Recipe, factor: float, what: str) -> Remedy:
    if not recipe.rate:
        return Remedy(what, "")
    return Remedy(f"{what} ({recipe.rate * factor:.3g})", f"--model.optimizer.init_args.lr={recipe.rate * factor:.3g}")


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
