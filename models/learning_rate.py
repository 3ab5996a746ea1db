"""The protocol of what stands in ``learning_rates:``: a multiplier of the base rate for each parameter."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from ..contracts.errors import UserError


class LearningRate(ABC):
    """A rule that gives parameters a rate of their own; several multiply, and a schedule multiplies on top.

    A group's decoupled weight decay follows its rate, as torch's AdamW couples them.
    """

    @abstractmethod
    def multipliers(self, model: nn.Module) -> dict[str, float]:
        """By the parameter's name in ``model.named_parameters()``; those left out keep the base rate.

        A rule at its neutral setting returns nothing, so that the run equals one without it bit for bit.

        Raises:
            UserError: the rule hits nothing that trains.
        """


def combined(rules: Sequence[LearningRate], model: nn.Module) -> dict[int, float]:
    """The product of all rules, by the parameter's id.

    Raises:
        UserError: a rule names an unknown parameter, or a multiplier that is not positive and finite.
    """
    parameters = dict(model.named_parameters())
    product: dict[int, float] = {}
    for rule in rules:
        for name, multiplier in rule.multipliers(model).items():
            if name not in parameters or not 0 < multiplier < math.inf:
                raise UserError(
                    f"model.learning_rates: {type(rule).__name__} gives {name!r} the multiplier {multiplier}; it "
                    "must name a parameter of the model and a positive number (what shall not move is frozen by the "
                    "adapter, not by a rate of zero)."
                )
            product[id(parameters[name])] = product.get(id(parameters[name]), 1.0) * multiplier
    return product
