"""Checks of an engine's options, before anything runs."""

import importlib
from typing import Any

from ...contracts.errors import UserError


def whole(name: str, value: Any, least: int) -> int:
    """A whole number.

    Raises:
        UserError: it is none, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"engine.{name} is {value!r}; give a whole number, at least {least}.")
    return value


def number(name: str, value: Any, least: float) -> float:
    """A number, for shares of a device.

    Raises:
        UserError: it is none, or too small.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or value < least:
        raise UserError(f"engine.{name} is {value!r}; give a number, at least {least:g}.")
    return value


def texts(name: str, value: Any) -> dict[str, str]:
    """Names with values, as environment variables are.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"engine.{name} is {value!r}; give names and values: {{HF_HOME: /shared/hub}}.")
    return {key: str(item) for key, item in value.items()}


def package(name: str, extra: str) -> Any:
    """An optional package.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"engine.name is {extra}, which needs the package {name}; install it: pip install 'finelab[{extra}]'."
        ) from error
