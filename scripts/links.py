"""What the command line fills into one part of a configuration from another."""

import inspect

from jsonargparse import Namespace

from ..contracts.seeds import Seeds


def all_seeds(seeds: int | dict[str, int]) -> dict[str, int]:
    """The one place where one integer or three become three.

    Raises:
        ValueError: some of the three are missing, or there are others.
    """
    if isinstance(seeds, dict) and set(seeds) != {"data", "init", "train"}:
        raise ValueError(f"seeds takes one integer, or all three of data, init and train; got {seeds}")
    return Seeds.of(seeds).as_dict()


def label_names(data: object) -> list[str] | None:
    """What the model's ``labels`` are filled from; None where the data module has no such attribute.

    The attribute is asked for here and not by the parser, which takes an ``AttributeError`` inside a property for its
    absence.
    """
    if inspect.getattr_static(data, "label_names", None) is None:
        return None
    return data.label_names  # pyright: ignore[reportAttributeAccessIssue]


def data_seed(seeds: int | dict[str, int]) -> int:
    return all_seeds(seeds)["data"]


def revision_of(loading: Namespace | None) -> str | None:
    return None if loading is None else loading["init_args.revision"]
