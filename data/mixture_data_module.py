"""Rows of several sources in exact proportions, and evaluation sets beside them."""

import hashlib
import json
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSet, PackedSamples, RehearsalBatches, Split
from ..contracts.errors import UserError
from ..contracts.targets import TargetKind
from .duplicates import Duplicates
from .loader_options import LoaderOptions
from .mixed_samples import MixedSamples
from .mixing import quotas, shares
from .mixture_order import MixtureOrder
from .mixture_parts import MixtureParts, require_trained
from .mixture_report import listed, proportions, render_mixture, repeated_across
from .mixture_specs import SourceSpec, check_specs, naming
from .probe_rows import drawn_of_each
from .rehearsal import of_split
from .sampler import FixedBatchSampler, training_sampler
from .splits import Fractions
from .template import Template
from .text_data_module import TextDataModule
from .tokenizer import LoadedTokenizer
from .training_layout import TrainingLayout


class MixtureDataModule(LightningDataModule):
    """Trains on several sources at once and evaluates on each of them and on further sets.

    Every source is a ``TextDataModule`` of its own: its tokens are cached and its rows audited as if it were alone.

    Shares are ``n ** (1 / temperature)`` of the n training rows of each source (packed rows with ``loader.packing``),
    or fixed ``weight``s. An epoch has as many rows as all sources have together; a source's quota of them is its share,
    rounded (largest remainder). Proportions hold after every step, not on average (``MixtureOrder``); with
    ``loader.bucketing`` they hold per epoch, since rows of like length meet in a batch.

    Classes are matched by name: every source has the same set of names, in whatever order or numbering, and an
    evaluation set has no other; classes that are numbers need names. Replay of general text is one more source, perhaps
    with a template of its own. Rows that are replayed are training rows: to measure forgetting on rows that were never
    trained on, let an evaluation set name others.

    ``source_id`` of a batch is an index into ``source_names``; ``sample_id`` is unique over all sources of a split.

    Args:
        sources: name -> what is trained on.
        base: the base whose tokenizer is used; the command line links it from the model.
        template: what a row means, where a source does not say.
        eval_sets: name -> what is only evaluated, on its validation and test split: ``{test: FILE}`` is scored whole.
            Training rows of it are used for nothing, unless ``splits`` of its own say which share of them is scored.
            One with the name and rows of a source is that source, so that a study can name all of them in every arm.
        temperature: 1 is proportional to size, ``.inf`` uniform; null is 1, and needed where weights are given.
        context: most tokens of a sample.
        batch_size: training rows per device.
        loader: how batches are fetched.
        splits: shares of splits that a source has not; an evaluation set is cut by its own alone.
        on_bad_row: ``error``, or ``skip`` to count and list such rows in the report.
        seed: the data seed; the command line links it.
        cache_dir: where tokens are kept.
        revision: commit, tag or branch of a base from the hub; the command line links it from the model.
        duplicates: what is done about repeated texts inside each source. Held-out texts of one part among the training
            rows of another are counted (``repeated_across`` of the report) and warned of, and never dropped.
    """

    def __init__(
        self,
        sources: dict[str, SourceSpec],
        base: str,
        template: Template | None = None,
        eval_sets: dict[str, SourceSpec] | None = None,
        temperature: float | None = None,
        context: int = 128,
        batch_size: int = 32,
        loader: LoaderOptions = LoaderOptions(),  # noqa: B008 - frozen
        splits: Fractions = Fractions(),  # noqa: B008 - frozen
        on_bad_row: Literal["error", "skip"] = "error",
        seed: int = 1,
        cache_dir: str = "~/.cache/finelab/tokens",
        revision: str | None = None,
        duplicates: Duplicates = Duplicates(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        check_specs(sources, eval_sets or {}, template, temperature)
        self.sources = sources
        self.eval_sets = {name: spec for name, spec in (eval_sets or {}).items() if name not in sources}
        self.template, self.temperature = template, temperature
        self.batch_size, self.loader, self.seed = batch_size, loader, seed
        self._settings: dict[str, Any] = {
            "base": base,
            "context": context,
            "batch_size": batch_size,
            "loader": loader,
            "on_bad_row": on_bad_row,
            "seed": seed,
            "cache_dir": cache_dir,
            "revision": revision,
            "duplicates": duplicates,
        }
        given = {name: replace(spec, splits=spec.splits or splits) for name, spec in sources.items()}
        self._maker = MixtureParts(given, self.eval_sets, self._text_data)
        # Predict reads its input with the mixture's template, and no source.
        first = next(iter(sources.values()))
        self._reader = self._text_data(replace(first, template=template or first.template))

    @property
    def source_names(self) -> list[str]:
        return [*self.sources, *self.eval_sets]

    @property
    def training_names(self) -> list[str]:
        return list(self.sources)

    def use_labels(self, names: list[str] | None) -> None:
        """Take the classes from a checkpoint, before ``setup``; from then on no training rows are needed."""
        self._maker.use_labels(names)
        self._reader.use_labels(names)

    @property
    def template_target(self) -> tuple[str, TargetKind | None]:
        """Of all parts, whose templates give targets of one kind (``check_specs``)."""
        return self._reader.template_target

    @property
    def label_names(self) -> list[str] | None:
        """The classes, in the order of the first source; None for language modelling.

        Raises:
            UserError: the sources have not all the same names, or numbers without a name for classes.
        """
        return self._maker.label_names

    @cached_property
    def parts(self) -> dict[str, TextDataModule]:
        """The sources and then the evaluation sets, tokenized, with the same classes and ids of their own.

        Raises:
            UserError: rows that cannot be used, or label names that do not fit together.
        """
        parts: dict[str, TextDataModule] = {}
        offsets: dict[str, int] = dict.fromkeys(("train", "validation", "test"), 0)
        for index, name in enumerate(self.source_names):
            part = parts[name] = self._maker.part(name)
            part.source_id, part.first_ids = index, dict(offsets)
            with naming(name):
                for split, audit in part.report["splits"].items():
                    offsets[split] += audit["samples"]
        return parts

    def _text_data(self, spec: SourceSpec) -> TextDataModule:
        template = spec.template or self.template
        assert template is not None
        own = {"splits": spec.splits or Fractions(0, 0), "train_rows": spec.train_rows}
        return TextDataModule(spec.source, template, **own, **self._settings)

    # ---- what is in it

    @property
    def fingerprint(self) -> str:
        """A digest of every part's rows, and of the proportions."""
        parts = [[name, part.fingerprint, self.counts.get(name)] for name, part in self.parts.items()]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Source -> rows of an epoch; empty where no training rows are needed."""
        if not self._maker.needs_train:
            return {}
        sizes = {name: len(self._layout(name).lengths) for name in self.sources}
        weights = {name: spec.weight for name, spec in self.sources.items() if spec.weight is not None}
        return quotas(sum(sizes.values()), shares(sizes, weights or None, self.temperature or 1.0))

    @property
    def report(self) -> dict[str, Any]:
        """The proportions, and the report of every part under its name."""
        sizes = {name: len(self._layout(name).lengths) for name in self.counts}
        return {
            "name": ", ".join(self.source_names),
            "fingerprint": self.fingerprint,
            "label_names": self.label_names,
            "source_names": self.source_names,
            "training_names": self.training_names,
            "temperature": "uniform" if self.temperature == inf else self.temperature,  # JSON has no infinity
            "proportions": proportions(sizes, self.counts),
            "unused": {name: self.parts[name].report["unused"] for name in self.eval_sets},
            "repeated_across": self._repeated_across,
            "fingerprints": {name: part.fingerprint for name, part in self.parts.items()},
            "parts": {name: part.report for name, part in self.parts.items()},
        }

    @cached_property
    def _repeated_across(self) -> dict[str, int]:
        splits: tuple[Split, ...] = ("validation", "test")
        held_out = {name: {split: part.text_keys(split) for split in splits} for name, part in self.parts.items()}
        trained = {name: self.parts[name].text_keys("train") for name in self.sources}
        return repeated_across(trained, held_out)

    def render_report(self) -> str:
        return render_mixture(self.report, {name: part.render_report() for name, part in self.parts.items()})

    def prepare_data(self) -> None:
        """Tokenize, on one process per machine; with a checkpoint's labels only what a loader asks for."""
        if self._maker.needs_train:
            _ = self.parts

    def setup(self, stage: str) -> None:
        self.prepare_data()
        if stage == "fit" and self._repeated_across:
            rank_zero_warn(f"Held-out texts are trained on in another source: {listed(self._repeated_across)}.")

    # ---- loaders

    def train_dataloader(self) -> DataLoader[Batch]:
        """Raises:
        UserError: a source has no training rows, or there are fewer than devices.
        """
        rank, world_size = self._place()
        layouts = {name: self._layout(name) for name in self.sources}
        lengths = {name: layout.lengths for name, layout in layouts.items()}
        data = MixedSamples({name: layout.rows for name, layout in layouts.items()}, lengths)
        name, first = next(iter(layouts.items()))
        order = MixtureOrder(
            lengths, list(self.counts.values()), self.batch_size * world_size, self.seed, first.bucketing
        )
        sampler = training_sampler(order, rank, world_size)
        return self._placed(name).training_batches(data, sampler, first.collate)

    def packing_probe(self) -> PackedSamples | None:
        probes = (self._layout(name).probe(self._reader.tokenizer.pad_id) for name in self.sources)
        return next((probe for probe in probes if probe is not None), None)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader for each of the evaluation sets, in their order."""
        return [each.loader for each in self.evaluation_sets("validation")]  # pyright: ignore[reportReturnType]

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """Raises:
        UserError: neither a source nor an evaluation set has a test split.
        """
        sets = self.evaluation_sets("test")
        if not sets:
            raise UserError(f"None of {', '.join(self.source_names)} has a test split; add one to data.eval_sets.")
        return [each.loader for each in sets]  # pyright: ignore[reportReturnType]

    def evaluation_sets(self, split: Split) -> list[EvaluationSet]:
        """The sources and evaluation sets that have this split."""
        loaders = {name: self._placed(name).evaluation_loader(split) for name in self.source_names}
        return [
            EvaluationSet(name, loader, name in self.sources) for name, loader in loaders.items() if loader is not None
        ]

    def evaluation_loader(self, split: Split) -> DataLoader[Batch] | None:
        """Every row that the sources have in a split, as one set; None where none of them has it."""
        found = {name: self.parts[name].samples(split) for name in self.sources}
        parts = {name: data for name, data in found.items() if data is not None}
        if not parts:
            return None
        data = MixedSamples(parts, {name: part.lengths for name, part in parts.items()})
        size = self.loader.evaluation_batch_size or 2 * self.batch_size
        sampler = FixedBatchSampler(data.lengths, size, *self._place())
        return self.parts[next(iter(parts))].batches(data, sampler, f"evaluate {split}")

    def probe_loader(self, rows: int) -> DataLoader[Batch] | None:
        """The sources are represented as in the validation split, so that the two losses can be compared."""
        parts = {name: self.parts[name].require("train") for name in self.sources}
        sizes = {name: len(part) for name, part in parts.items()}
        like = {name: len(self.parts[name].samples("validation") or ()) for name in self.sources}
        data = MixedSamples(parts, {name: part.lengths for name, part in parts.items()})
        chosen = drawn_of_each(sizes, like, rows, self.seed)
        return self._placed(next(iter(parts))).probe_batches(data, chosen, data.lengths)

    def document_of(self, split: Split, samples: np.ndarray) -> np.ndarray:
        found = samples.copy()
        for part in (each.samples(split) for each in self.parts.values()):
            if part is not None:
                own = (samples >= part.first_id) & (samples < part.first_id + len(part))
                found[own] = part.document_of(samples[own])
        return found

    def rehearsal(self, split: Literal["train", "validation"]) -> RehearsalBatches | None:
        return of_split(split, self.evaluation_loader(split), self.train_dataloader)

    @property
    def tokenizer(self) -> LoadedTokenizer:
        return self._reader.tokenizer

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Rows of ``predict_input``, read with the template of the mixture, or of its first source."""
        self._reader.trainer = self.trainer
        return self._reader.predict_dataloader()

    @property
    def predicts_text(self) -> bool:
        return self._reader.predicts_text

    @property
    def predict_input(self) -> str | None:
        return self._reader.predict_input

    @predict_input.setter
    def predict_input(self, file: str | None) -> None:
        self._reader.predict_input = file

    @property
    def predict_ids(self) -> list[str | int]:
        return self._reader.predict_ids

    @property
    def predict_rows(self) -> list[int]:
        return self._reader.predict_rows

    def _layout(self, name: str) -> TrainingLayout:
        require_trained(name, self.parts[name])
        return self.parts[name].layout

    def _placed(self, name: str) -> TextDataModule:
        """A part that knows the rank."""
        part = self.parts[name]
        part.trainer = self.trainer
        return part

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
