"""Optuna behind ``tune: {sampler: tpe}``: asked for one trial at a time, told of all trials that are over.

Tree-structured Parzen estimator, Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization" (NeurIPS 24). The
study lives in memory and is built anew from the finished trials, so that a search that was killed leaves no trial that
runs for ever, and the same trials always lead to the same next one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .study import Dimension, Tune
from .trial_values import choices as choices_of
from .trial_values import is_whole

MOST_AT_ONCE = 10
"""As many trials at the most are drawn before any has ended (Optuna's own number of start-up trials)."""


def first_trials(tune: Tune) -> int:
    """Trials, the default among them, that depend on no other and can run at once: half of all, ten at the most."""
    return max(1, min(MOST_AT_ONCE, tune.trials // 2))


def sampler_title() -> str:
    """Name and version, for the report.

    Raises:
        UserError: Optuna is not installed.
    """
    return f"TPESampler of optuna {_optuna().__version__}"


def ask(
    tune: Tune,
    default: Mapping[str, Any],
    tried: Sequence[tuple[Mapping[str, Any], float | None]],
    number: int,
    of: Sequence[str],
    attempt: int = 0,
) -> dict[str, Any]:
    """The setting of one trial.

    Args:
        tune: the search.
        default: configuration key -> the arm's own value, which is trial 0.
        tried: setting and score of the trials before this one, in their order; the score of one that failed is None.
            It counts as worse than all others.
        number: of the trial, from 1 on. Those below ``first_trials`` do not look at ``tried``.
        of: what the search belongs to, arm and task; each has draws of its own.
        attempt: counts draws of one trial, where the ones before gave settings that have been tried.

    Returns:
        configuration key -> value.

    Raises:
        UserError: Optuna is not installed.
    """
    optuna = _optuna()
    choices = {d.key: choices_of(d, default[d.key]) for d in tune.space}
    space = {d.key: _distribution(optuna, d, default[d.key]) for d in tune.space}
    again = (attempt,) if attempt else ()
    sampler = optuna.samplers.TPESampler(n_startup_trials=1, seed=derive("tpe", *of, number, *again) % 2**32)
    study = optuna.create_study(direction="maximize" if tune.metric.mode == "max" else "minimize", sampler=sampler)
    for setting, value in tried if number >= first_trials(tune) else ():
        point = {key: _place(choices[key], setting[key]) for key in space}
        if all(_holds(d, setting[d.key]) for d in tune.space):  # a default may lie outside of the range
            state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(optuna.create_trial(state=state, value=value, params=point, distributions=space))
    asked = study.ask(space).params
    return {key: choices[key][asked[key]] if choices[key] else asked[key] for key in space}


def _distribution(optuna: Any, dimension: Dimension, default: Any) -> Any:
    if choices := choices_of(dimension, default):
        return optuna.distributions.CategoricalDistribution(range(len(choices)))
    low, high = dimension.low, dimension.high
    if is_whole(dimension, default):
        return optuna.distributions.IntDistribution(int(low or 0), int(high or 0), log=dimension.log)
    return optuna.distributions.FloatDistribution(low, high, log=dimension.log)


def _place(choices: Sequence[Any], value: Any) -> Any:
    return choices.index(value) if choices else value


def _holds(dimension: Dimension, value: Any) -> bool:
    if dimension.low is None or dimension.high is None:
        return True
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "tune.sampler: tpe in the study file needs Optuna, which is not installed: pip install 'finelab[tune]', or "
            "take sampler: random, which needs nothing."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
