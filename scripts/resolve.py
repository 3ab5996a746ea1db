"""``finelab resolve REQUEST RESPONSE``: every configuration of a study in one process, which imports and builds once.

Hidden: ``studies.resolver`` starts it. Nothing is trained, and weights are loaded only where steps are to be measured;
the tokens of each data set are made and cached, since the names of the classes are needed to build a model.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ..contracts.data import AuditedSource
from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.parent_death import die_with_parent
from ..contracts.uri import Location, find_without_import
from ..contracts.uri import resolve as locate
from ..models.backbone import Loading, digest, hub_file
from ..studies.resolution import Measured, Resolved, Variant
from ..studies.resolver import Request
from . import allowlist
from .check import CheckCLI, only_warnings
from .class_changes import fresh_arguments
from .fit_run import require_answerable
from .invocation import Invocation
from .lightning_cli import FinelabCLI, quiet
from .measurement import MeasuredError, Measurement
from .overlay import Overlay

PACKAGES = ("finelab", "torch", "lightning", "transformers", "peft")
ROOMS = ("contracts", "models", "data", "callbacks", "scripts")
"""Whose code decides what a run does; that of ``studies`` only looks at runs."""

SMALL = (".json", ".txt", ".model", ".jinja")
"""Endings of a base's configuration, tokenizer and chat template."""


class ResolvingCLI(CheckCLI):
    """Parses and builds one configuration after the other with one parser."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self._data: dict[str, str] = {}
        self._bases: dict[str, str] = {}

    # Lightning's constructor would do all of these once.

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = Namespace(subcommand="fit", fit=Namespace())

    def instantiate_classes(self) -> None:
        """In ``resolve``."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is run."""

    # ---- one variant

    def resolve(self, invocation: Invocation, content: dict[str, Any], measure: bool) -> Resolved:
        """
        Args:
            invocation: knows where the keys were said.
            content: the configuration, before defaults and checks.
            measure: take a few training steps.

        Raises:
            UserError: it is refused, or what it describes cannot be built.
        """
        self.invocation = invocation
        self.parser_class.invocation = invocation  # pyright: ignore[reportAttributeAccessIssue]
        with fresh_arguments():
            self.config = self.parser.parse_object({"subcommand": "fit", "fit": content})
        FinelabCLI.instantiate_classes(self)
        config = self.resolved_config()
        del config["run"]
        measured = self._measured() if measure else None
        return Resolved(config, self._fingerprint(config), self._base_digest(config), measured)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Without what might write."""
        self.model.check_data(self.datamodule)  # pyright: ignore[reportCallIssue]
        off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "use_distributed_sampler"), False)
        self.measurement = Measurement()
        trainer = LightningCLI.instantiate_trainer(self, callbacks=[self.measurement], **off, **kwargs)
        require_answerable(trainer)
        return trainer

    def _measured(self) -> Measured | None:
        """By a fit that ends before it has trained; nothing is written."""
        with suppress(MeasuredError):
            self.trainer.fit(self.model, datamodule=self.datamodule)
        return self.measurement.measured

    def _fingerprint(self, config: dict[str, Any]) -> str:
        """Once per data section, base and data seed."""
        section = json.dumps([config["data"], self.model.base, config["seeds"]["data"]], sort_keys=True)
        if section not in self._data:
            data = self.datamodule
            own = data.fingerprint if isinstance(data, AuditedSource) else hashlib.sha256(section.encode()).hexdigest()
            self._data[section] = own
        return self._data[section]

    def _base_digest(self, config: dict[str, Any]) -> str:
        """Once per base and way of loading it: its weights, and the files beside them that say how they are used."""
        section = repr((self.model.base, self.model.loading))
        if section not in self._bases:
            location = locate(self.model.base)
            content = hashlib.sha256(digest(location, self.model.loading).encode())
            for file in small_files(location, self.model.loading):
                content.update(f"{file.name}\n".encode() + file.read_bytes())
            self._bases[section] = content.hexdigest()
        return self._bases[section]


def resolve_all(request: Request) -> dict[str, Any]:
    """The response: variants, versions and code, or all errors."""
    allowlist.enforce(request.trusted)
    quiet()
    overlay = Overlay(request.base, request.study, request.trusted)
    cli = ResolvingCLI(overlay.invocation(request.variants[0]))
    found: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for variant in request.variants:
        try:
            found[variant.name] = asdict(resolve_one(cli, overlay, variant, variant.name in request.measure))
        except UserError as error:
            errors.setdefault(overlay.placed(str(error), variant), []).append(variant.name)
    return {
        "errors": [list(item) for item in errors.items()],
        "variants": found,
        "versions": {name: version(name) for name in PACKAGES},
        "code": code_digest(request.trusted),
    }


def resolve_one(cli: ResolvingCLI, overlay: Overlay, variant: Variant, measure: bool) -> Resolved:
    return cli.resolve(overlay.invocation(variant), overlay.content(variant), measure)


def small_files(location: Location, loading: Loading) -> list[Path]:
    """Configuration and tokenizer of a base, in order."""
    folder = hub_file(location, loading).parent if location.kind == "hub" else Path(location.path)
    return sorted(file for file in folder.iterdir() if file.suffix in SMALL and file.is_file())


def code_digest(trusted: Sequence[str]) -> str:
    """Of the sources that a run executes: finelab's own and those of trusted packages."""
    content = hashlib.sha256()
    for package in (*(f"finelab.{room}" for room in ROOMS), *trusted):
        spec = find_without_import(package)
        if spec is None:
            raise UserError(
                f"The trusted package {package!r} is not installed here; install it, or remove it from trust."
            )
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(str(spec.origin))]
        for file in files:
            content.update(f"{package}:{file.name}\n".encode() + file.read_bytes())
    return content.hexdigest()[:16]


def resolve(words: Sequence[str]) -> int:
    """The command.

    Returns:
        0; errors of the configurations stand in the response.
    """
    die_with_parent()
    request, response = map(Path, words)
    with only_warnings(logging.getLogger("lightning.pytorch")):
        try:
            answer = resolve_all(Request.of(json.loads(request.read_text(encoding="utf-8"))))
        except UserError as error:
            answer = {"errors": [[str(error), []]], "variants": {}, "versions": {}, "code": ""}
    write_atomically(response, json.dumps(answer))
    return 0
