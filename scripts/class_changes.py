"""A class that takes another's place in a configuration starts from its own defaults.

jsonargparse keeps the arguments that both classes know: VeRA in the place of LoRA would train with LoRA's rank, and say
nothing. It has no setting for that, so its own function is replaced while a command line is parsed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import Namespace, _typehints
from jsonargparse._util import import_object
from lightning.pytorch import LightningDataModule, LightningModule

KEEPING = (LightningModule, LightningDataModule)
"""Their arguments mean the same in every class: the base, the optimizer, the source."""


@contextmanager
def fresh_arguments() -> Iterator[None]:
    """In force for whatever is parsed inside."""
    theirs = _typehints.discard_init_args_on_class_path_change

    def discard(parser_or_action: Any, before: Any, after: Any) -> None:
        if before and "init_args" in before and before["class_path"] != after["class_path"]:
            # Unchecked: the parser itself fills in bases such as Lightning's Callback, and has checked what was said.
            old, new = (import_object(entry["class_path"], check_path=False) for entry in (before, after))
            if isinstance(new, type) and issubclass(new, KEEPING):
                theirs(parser_or_action, before, after)
            elif old is not new:
                before["init_args"] = Namespace()

    _typehints.discard_init_args_on_class_path_change = discard
    try:
        yield
    finally:
        _typehints.discard_init_args_on_class_path_change = theirs
