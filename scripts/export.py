"""``finelab export``: a run's tuned model as plain Hugging Face files, compared with the run on its own text.

What is compared are the logits of the run's model before the merge and those of the model that was read back from the
new folder, both in eval mode and on the CPU, at the supervised positions. Their largest difference must be small beside
the largest logit, and beside what tuning has changed of the base's logits, so that a folder without the tuning is never
written. Merging LoRA was seen to change the logits by rounding, relative to the largest one, by up to 2e-6 in float32,
4e-3 in float16 and 4e-2 in bfloat16 (tiny models, MiniLM and a small language model; most under a head of a few steps,
whose logits are small). The default tolerances lie above that.
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
from ..models.losses import IMPOSSIBLE
from . import allowlist
from .invocation import WEIGHTS, Invocation
from .lightning_cli import FinelabCLI, quiet
from .trained_chat import share_chat_template
from .trained_labels import share_labels

TOLERANCE = {"float32": 1e-4, "float16": 2**-7, "bfloat16": 2**-4}
TUNED_SHARE = 0.5
"""An export that has lost the tuning differs from the run by 1 of what tuning has changed."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison of two models found; a value is NaN where a logit is no number.

    Args:
        rows: how many were compared.
        positions: supervised ones in them.
        largest: absolute difference of two logits, of the exported model and of the run's.
        scale: largest absolute logit of the run's model.
        tuned: largest absolute difference of two logits, of the run's model and of its base; None where that is lost.
        tolerance: of ``largest``, as a share of ``scale``.
    """

    rows: int
    positions: int
    largest: float
    scale: float
    tuned: float | None
    tolerance: float

    @property
    def near(self) -> bool:
        return self.largest <= self.tolerance * self.scale

    @property
    def has_the_tuning(self) -> bool:
        return self.tuned is None or self.largest <= TUNED_SHARE * self.tuned

    def __str__(self) -> str:
        base = (
            "its base cannot be found again, to be compared as well"
            if self.tuned is None
            else f"tuning has changed the base's by up to {self.tuned:.3g} (at most {TUNED_SHARE:g} of that is allowed)"
        )
        return (
            f"largest absolute difference of two logits {self.largest:.3g} over {self.rows} rows with {self.positions} "
            f"positions, where the run's largest logit is {self.scale:.3g} (tolerance {self.tolerance:.3g} of that) "
            f"and {base}"
        )


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
        self.agreement = export(self.model, self.datamodule, self.invocation)


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
    found = ExportCLI(invocation, ("--model.init_args.regularizers=null",)).agreement
    where = invocation.output
    if found.near and found.has_the_tuning:
        print(f"{where} agrees with {invocation.run}: {found}.")
        return 0
    accept = ", or accept the difference with --tolerance" if found.has_the_tuning else ""
    print(
        f"finelab: {where} was not written, since the exported model differs from {invocation.run}: {found}. Weights "
        "of 16 bits round where an adapter beside them does not, and may lose what a short training has changed: load "
        f"the base with --model.init_args.loading.dtype float32{accept}.",
        file=sys.stderr,
    )
    return 1


def export(module: FineTuner, data: object, invocation: Invocation) -> Agreement:
    """Write the folder; it appears once it has been compared, and only if it agrees.

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
    module.configure_model()
    module.keep_start()
    module.load_folder(invocation.run / WEIGHTS)
    before = list(logits(module, batches))
    rows, positions = sum(map(rows_of, batches)), sum(map(len, before))
    if not positions:
        raise UserError(
            f"data: the {rows} rows that the exported model was to be compared on have no supervised position. Compare "
            "on more with --rows, or see finelab data report for what is wrong with the validation split."
        )
    tuned = changed_by_tuning(module, batches, before)
    tolerance = TOLERANCE[module.loading.dtype] if invocation.tolerance is None else invocation.tolerance
    target = Path(invocation.output).expanduser().absolute()
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        scratch.chmod(0o755)
        write_exported(module, scratch, template_of(data), chat_template(module, invocation.run / WEIGHTS))
        largest = largest_difference(before, logits(reloaded(module, scratch), batches))
        scale = largest_difference(before, map(torch.zeros_like, before))
        agreement = Agreement(rows, positions, largest, scale, tuned, tolerance)
        if agreement.near and agreement.has_the_tuning:
            os.rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return agreement


def changed_by_tuning(module: FineTuner, batches: list[Batch], before: list[Tensor]) -> float | None:
    """How far the run's logits are from its base's under the same head; None where the adapter has lost the base."""
    if module.adapter.base_is == "lost":
        return None
    with module.as_base():
        return largest_difference(before, logits(module, batches))


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


def logits(module: FineTuner, batches: list[Batch]) -> Iterator[Tensor]:
    """[N, V] of every batch, float32; 0 where there is no such class or choice."""
    module.eval()
    for batch in batches:
        with torch.no_grad():
            found = module.score(batch).logits.float()
        yield found.masked_fill(found <= IMPOSSIBLE / 2, 0.0)


def largest_difference(before: Iterable[Tensor], after: Iterable[Tensor]) -> float:
    pairs = zip(before, after, strict=True)
    return torch.stack([(a - b).abs().max() for a, b in pairs if a.numel()]).max().item()


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
