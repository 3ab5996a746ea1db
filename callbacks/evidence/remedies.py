"""What to try, from what was found and what is in use already."""

from ...contracts.verdict import Remedy
from .facts import Facts
from .recipe import Recipe

METHODS = "finelab.models.regularizers"
MOST = 2


def remedies(finding: str, facts: Facts, recipe: Recipe) -> list[Remedy]:
    """At most two, the most promising first; none for a healthy run or an unclear one."""
    if finding in ("overfitting", "not carried over"):
        return _against_overfitting(facts, recipe)[:MOST]
    if finding in ("underfitting", "behind", "nothing learned"):
        return _against_underfitting(recipe)[:MOST]
    if finding == "diverging":
        return [_rate(recipe, 1 / 3, "a lower learning rate")]
    return []


def _against_overfitting(facts: Facts, recipe: Recipe) -> list[Remedy]:
    """A stop where the best came early, else a penalty; a smaller adapter where it is large."""
    shorter = _shorter(facts, recipe)
    penalty = _penalty(recipe)
    early = facts.best <= (len(facts.steps) - 1) / 2
    memorised = facts.membership is not None and facts.membership.interval()[0] > 0.6
    ordered = [shorter, penalty] if early and not memorised else [penalty, shorter]
    return [one for one in [*ordered, _smaller(recipe)] if one is not None]


def _penalty(recipe: Recipe) -> Remedy | None:
    """The first that fits the target and is not there yet.

    R-Drop compares forwards that differ, KLToBase needs a base that can do the task, Mixout no more than linear
    weights of the base; L2-SP fits whatever trains.
    """
    is_text = recipe.target in ("CausalLM", "Seq2SeqLM")
    offers = [
        ("L2SP", "weight", "0.01", "hold the weights near the base's", True),
        ("KLToBase", "weight", "0.1", "hold the predictions near the base's", is_text),
        ("RDrop", "weight", "1.0", "make two dropout masks agree", _drops(recipe)),
        ("Mixout", "p", "0.5", "mix the base's weights in", recipe.adapter in ("Full", "LoraConfig")),
        ("LabelSmoothing", "epsilon", "0.1", "soften the targets", recipe.target == "SequenceClassifier"),
    ]
    for name, key, value, purpose, fits in offers:
        if fits and name not in recipe.regularizers:
            override = f"--model.regularizers+={METHODS}.{name} --model.regularizers.{key}={value}"
            return Remedy(f"{purpose} ({name})", override)
    return None


def _drops(recipe: Recipe) -> bool:
    encoder = recipe.target not in ("", "CausalLM")  # decoders mostly come without dropout
    return encoder or bool(recipe.dropout)


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
    if recipe.rank is not None and recipe.rank > 1:
        rank = max(1, recipe.rank // 4)
        return Remedy(f"a smaller adapter (rank {rank})", f"--model.adapter.init_args.r={rank}")
    if recipe.adapter == "Full":
        return Remedy("a LoRA adapter", "--model.adapter=peft.LoraConfig --model.adapter.target_modules=all-linear")
    return None


def _against_underfitting(recipe: Recipe) -> list[Remedy]:
    longer = _longer(recipe)
    larger = (
        [Remedy(f"rank {4 * recipe.rank}", f"--model.adapter.init_args.r={4 * recipe.rank}")] if recipe.rank else []
    )
    return [_rate(recipe, 3.0, "a higher learning rate"), longer, *larger]


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
