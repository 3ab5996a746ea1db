"""``finelab export``: a run's tuned model as plain Hugging Face files, compared with the run on its own text.

What is compared are the logits of the run's model before the merge and those of the model that was read back from the
new folder, both in eval mode and on the CPU, at the supervised positions. The default tolerances leave room above what
merging LoRA was seen to change by rounding alone: float32 3e-6 (a classifier on MiniLM) and 3e-5 (a small language
model with logits up to 22), float16 0.04 and bfloat16 0.4 (the same language model).
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource
from ..contracts.errors import UserError
from ..data.chat_format import ChatFormat
from ..data.mixture_data_module import MixtureDataModule
from ..data.text_data_module import TextDataModule
from ..data.tokenizer import load_tokenizer
from ..models.checkpoint_folder import stored_manifest
from ..models.exported import reloaded, write_exported
from ..models.finetuner import FineTuner
from . import allowlist
from .invocation import WEIGHTS, Invocation
from .lightning_cli import FinelabCLI, quiet
from .trained_chat import share_chat_template
from .trained_labels import share_labels

TOLERANCE = {"float32": 1e-3, "float16": 0.3, "bfloat16": 1.0}


@dataclass(frozen=True)
class Agreement:
    """What a comparison of two models found.

    Args:
        rows: how many were compared.
        positions: supervised ones in them.
        largest: absolute difference of two logits; NaN where one is no number.
    """

    rows: int
    positions: int
    largest: float


class ExportCLI(FinelabCLI):
    """Parses a run's configuration and builds its data and its model, no trainer."""

    def build(self) -> None:
        assert self.invocation.run is not None
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule, self.model = self._get(self.config_init, "data"), self._get(self.config_init, "model")
        share_labels(self.datamodule, self.labels)
        share_chat_template(self.datamodule, self.invocation.run / WEIGHTS)
        self.model.check_data(self.datamodule)

    def _run_subcommand(self, subcommand: str) -> None:
        assert isinstance(self.model, FineTuner)
        self.agreement, self.tolerance = export(self.model, self.datamodule, self.invocation)


def export_run(invocation: Invocation) -> int:
    """Run the command.

    Returns:
        0, or 1 where the two models differ by more than the tolerance; nothing is left behind then.

    Raises:
        UserError: whatever the user can put right.
    """
    allowlist.enforce(invocation.trusted)
    quiet()
    # Regularizers act in training only, and some rebuild modules for it.
    done = ExportCLI(invocation, ("--model.init_args.regularizers=null",))
    found, where = done.agreement, invocation.output
    seen = (
        f"largest absolute difference of two logits {found.largest:.3g} over {found.rows} rows with {found.positions} "
        f"positions (tolerance {done.tolerance:g})"
    )
    if found.largest <= done.tolerance:
        print(f"{where} agrees with {invocation.run}: {seen}.")
        return 0
    print(
        f"finelab: {where} was not written, since the exported model differs from {invocation.run}: {seen}. Weights of "
        "16 bits round where an adapter beside them does not: load the base with model.init_args.loading.dtype "
        "float32, or accept the difference with --tolerance.",
        file=sys.stderr,
    )
    return 1


def export(module: FineTuner, data: object, invocation: Invocation) -> tuple[Agreement, float]:
    """Write the folder; it appears once it has been compared, and only if it agrees.

    Returns:
        what was found, and the tolerance.

    Raises:
        UserError: the adapter does not merge, or there are no rows to compare on.
    """
    assert invocation.run is not None and invocation.output is not None
    if not module.adapter.merges:
        raise UserError(
            f"{invocation.run} cannot be exported: {type(module.adapter).__name__} is no change of the base's weights "
            f"that could be merged into them. Use it as it is: {invocation.run / WEIGHTS} is the adapter's own folder "
            "(PEFT's format where it is PEFT's: PeftModel.from_pretrained(base, folder)), and finelab predict --run "
            f"{invocation.run} answers with it."
        )
    batches = list(first_rows(real_text(data), invocation.rows))
    module.loading = replace(module.loading, compile=False)
    module.load_folder(invocation.run / WEIGHTS)
    target = Path(invocation.output).expanduser().absolute()
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    tolerance = TOLERANCE[module.loading.dtype] if invocation.tolerance is None else invocation.tolerance
    try:
        scratch.chmod(0o755)
        before = logits(module, batches)
        write_exported(module, scratch, template_of(data), chat_template(module, invocation.run / WEIGHTS))
        after = logits(reloaded(module, scratch), batches)
        agreement = Agreement(sum(map(rows_of, batches)), sum(map(len, before)), largest_difference(before, after))
        if agreement.largest <= tolerance:
            os.rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return agreement, tolerance


def real_text(data: object) -> Iterable[Batch]:
    """The validation split, or the training split where there is none; the test split is not read.

    Raises:
        UserError: the data module has neither in a fixed order.
    """
    if isinstance(data, EvaluationSource):
        data.prepare_data()  # pyright: ignore[reportAttributeAccessIssue]
        data.setup("validate")  # pyright: ignore[reportAttributeAccessIssue]
        for split in ("validation", "train"):
            if (loader := data.evaluation_loader(split)) is not None:
                return loader
    raise UserError(
        f"data: {type(data).__name__} gives no rows to compare the exported model on; it needs a validation split and "
        "the method evaluation_loader (finelab.contracts.data.EvaluationSource)."
    )


def first_rows(loader: Iterable[Batch], rows: int) -> Iterator[Batch]:
    for batch in loader:
        yield {name: values[:rows] for name, values in batch.items()}
        rows -= rows_of(batch)
        if rows <= 0:
            return


def rows_of(batch: Batch) -> int:
    return len(batch["sample_id"])


def logits(module: FineTuner, batches: list[Batch]) -> list[Tensor]:
    """[N, V] of every batch, float32."""
    module.eval()
    with torch.no_grad():
        return [module.score(batch).logits.float() for batch in batches]


def largest_difference(before: list[Tensor], after: list[Tensor]) -> float:
    return torch.stack([(a - b).abs().max() for a, b in zip(before, after, strict=True)]).max().item()


def chat_template(module: FineTuner, weights: Path) -> str | None:
    """What the run wrote conversations with, as a server must have it; None where there were none."""
    text = stored_manifest(weights).get("chat_template")
    return (
        None
        if text is None
        else ChatFormat(load_tokenizer(module.base, module.loading.revision).tokenizer, text).served
    )


def template_of(data: object) -> dict[str, object]:
    """What an exported encoder must know to read rows of text (``scripts.exported``)."""
    if isinstance(data, MixtureDataModule):
        data = data.parts[data.training_names[0]]
    if not isinstance(data, TextDataModule):
        return {}
    return {"template": data.template.settings(), "context": data.context}
