"""An exported encoder that answers rows of text, as ``finelab predict`` does, from Python."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from ..contracts.errors import UserError
from ..data.rejections import BadRow
from ..data.template import Example, Template
from ..data.token_dataset import TokenDataset
from ..data.tokenized_split import tokenize
from ..data.tokenizer import load_tokenizer
from ..models.checkpoint_folder import stored_manifest
from ..models.exported import load_exported
from ..models.headed_encoder import HeadedEncoder
from .allowlist import is_allowed, refusal
from .predictions import as_shown

Row = Mapping[str, object]


class Exported:
    """A model that was exported from a run, with its tokenizer and its template.

        model = Exported("exported")
        model.predict([{"text": "Who was Galileo?"}])
        [{'label': 'HUM', 'probability': 0.99}]

    Rows have the columns of the run's data; their targets are not needed.

    Args:
        folder: as ``finelab export`` wrote it from a classifier, a regressor, a tagger or a multiple-choice model.
        device: e.g. ``cuda``.
        trusted: packages of your own that the run's template may come from (``--trust-module``).
        target: the model's class, where it is none of ``finelab.models``.

    Attributes:
        module: in eval mode; ``module(batch).logits``.

    Raises:
        UserError: no such folder, weights that are not those that were written, or a template that is not allowed.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "cpu",
        trusted: Sequence[str] = (),
        target: type[HeadedEncoder] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.module = load_exported(self.folder, target).to(device)
        manifest = stored_manifest(self.folder)
        if "template" not in manifest:
            raise UserError(
                f"{self.folder} was exported from a run whose data has no template, so rows cannot be read; use "
                "finelab.models.exported.load_exported and give it batches."
            )
        self.template = template_from(manifest["template"], tuple(trusted))
        self.labels, self.context = manifest.get("labels"), int(manifest["context"])
        self.tokenizer = load_tokenizer(str(self.folder))

    def predict(self, rows: Sequence[Row], batch_size: int = 32) -> list[dict[str, Any]]:
        """One answer per row, in order.

        Raises:
            UserError: a row that the template cannot read.
        """
        examples = [self._read(number, row) for number, row in enumerate(rows)]
        samples = tokenize(examples, self.template, self.tokenizer, self.context, self.labels, refuse)
        if not len(samples):
            return []
        loader = DataLoader(
            TokenDataset(samples),  # pyright: ignore[reportArgumentType]
            batch_size=batch_size,
            collate_fn=self.template.collator(self.tokenizer.pad_id),
        )
        found: list[dict[str, Any]] = []
        with torch.inference_mode():
            for place, batch in enumerate(loader):
                batch = {name: values.to(self.module.device) for name, values in batch.items()}
                columns = self.module.predict_step(batch, place)
                found += [
                    as_shown(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)
                ]
        return found

    def _read(self, number: int, row: Row) -> Example:
        try:
            return self.template.read(row, labelled=False)
        except BadRow as error:
            raise UserError(f"Row {number} of those to predict cannot be used: {error}.") from error


def refuse(row: int, why: str, policy: Literal["error", "skip"] | None) -> None:
    raise UserError(f"Row {row} of those to predict cannot be used: {why}.")


def template_from(settings: Mapping[str, Any], trusted: tuple[str, ...]) -> Template:
    """A template from its own description (``Template.settings``).

    Raises:
        UserError: a class outside the allowed packages, or no template.
    """
    path = str(settings["template"])
    if not is_allowed(path, trusted):
        raise UserError(f"The exported model names the template {path}, which is not allowed. {refusal(path)}")
    package, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(package), name, None)
    if not (isinstance(found, type) and issubclass(found, Template)):
        raise UserError(f"The exported model names the template {path}, which is none.")
    return found(**{key: value for key, value in settings.items() if key != "template"})
