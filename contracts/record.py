"""record.json, what a run leaves behind. Only a valid record with the status "finished" means that a run is done."""

import json
import math
import re
import types
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import UserError
from .files import write_atomically
from .verdict import Evidence, Remedy, Verdict

SCHEMA_VERSION = 4
RECORD_FILE = "record.json"
NUMBERS = re.compile(r"\[\n[-+\d.eEnul,\s]*\]")
"""A list of numbers (or null) over several lines, which would be one for each cell of a table."""

Metrics = dict[str, float]
Status = Literal[
    "finished",
    "interrupted",
    "failed: nonfinite",
    "failed: memory",
    "failed: disk",
    "failed: data",
    "failed: error",
]


@dataclass(frozen=True)
class SplitResult:
    """One split before and after training.

    Args:
        rows: rows evaluated.
        before: metrics of each reference: ``base``, or ``majority`` and ``probe`` where the head is new.
        after: metrics of the tuned model, empty where the run did not get there.
        missing: metrics that this split or these predictions do not define -> why.
        tables: of the tuned model, e.g. the confusion matrix.
    """

    rows: int
    before: dict[str, Metrics]
    after: Metrics
    missing: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Best:
    """The weights that were kept.

    Args:
        monitor: metric that chose them.
        mode: ``max`` or ``min``.
        value: the metric then; None where no validation was run, so that the last weights stand.
        step: optimizer steps taken by then.
    """

    monitor: str
    mode: str
    value: float | None
    step: int


@dataclass(frozen=True)
class Cost:
    """What the run took, evaluation apart from training; over all sessions of a run that was resumed, but for what was
    lost between a training state and the end of its session.

    Args:
        total_seconds: from the start of fit to the record.
        training_seconds: of that, in training steps and their data loading.
        steps: optimizer steps.
        skipped_steps: steps without a supervised token.
        examples: rows trained on, over all ranks and epochs.
        supervised_tokens: targets trained on, over all ranks and epochs.
        input_tokens: real (unpadded) tokens of ``input_ids``, likewise; what an encoder's decoder reads does not count.
        peak_memory_bytes: peak of the accelerator's allocations, or of the process's resident memory on a CPU.
    """

    total_seconds: float
    training_seconds: float
    steps: int
    skipped_steps: int
    examples: int
    supervised_tokens: int
    input_tokens: int
    peak_memory_bytes: int

    @property
    def supervised_tokens_per_second(self) -> float:
        return self.supervised_tokens / self.training_seconds if self.training_seconds else 0.0

    @property
    def examples_per_second(self) -> float:
        return self.examples / self.training_seconds if self.training_seconds else 0.0


@dataclass(frozen=True)
class Record:
    """The schema of record.json.

    Args:
        status: ``finished``, or why it is not.
        started: start of fit, UTC, ISO 8601.
        command: the command line.
        seeds: data, init and train.
        config_digest: of the resolved configuration without the ``run`` key.
        base: the base as the configuration names it.
        parameters: ``trainable`` and ``total``.
        adapter: its ``name``, whether it ``merges``, and ``base_is``: off, start or lost; of a configured run also its
            ``class`` and the ``settings`` that are not at their defaults.
        data: ``fingerprint``, and of the data report what fits on a page; of a mixture also ``source_names``, which
            source_id is an index into, and ``consumed``, source -> rows and supervised_tokens trained on.
        metrics: split -> before and after. Of several sets ``validation`` and ``test`` are over all tokens of those
            that are trained on, and ``validation/NAME`` and ``test/NAME`` are each of them.
        best: which weights were kept.
        history: one entry per validation: step, epoch, train_nll since the last one, and the validation metrics.
        examples: ``validation-before`` and the like -> per-example Parquet file, relative to the run. Of a mixture they
            have the column ``source``; ``validation`` holds the rows of all sources, and an evaluation set that is not
            trained on has a file of its own, ``validation/NAME-before``.
        test_read: whether the test split was read.
        order_digest: of (optimizer step, sample) pairs, see ``OrderDigest``; None where the run did not get there.
        cost: what it took.
        versions: of Python and the packages.
        hardware: processor, cores, accelerators, ranks.
        notes: what a reader has to know, e.g. why a reference is missing.
        error: ``type`` and ``message`` of what ended a run that did not finish; the message says what to do about it
            where that is known. The traceback is in ``error.txt``.
        regularizers: ``class`` and ``settings`` of each, in order.
        learning_rates: the same.
        order_trail: where that digest came from: sums over stretches of ``every`` steps, see ``OrderTrail``; two runs
            whose digests differ first part in the first stretch that differs. Empty without a digest.
        base_revision: commit of a base from the hub; None of a folder.
        resumed: one entry per resume: the optimizer ``step`` it went on from, its ``time`` and its ``command``. One
            that was killed before it had saved a state of its own is missing; config.yaml names it.
        verdict: whether it overfits; None where nobody looked.
        findings: what each ``Measure`` found, by its name; what could not be measured is ``{"missing": reason}``.
    """

    status: Status
    started: str
    command: list[str]
    seeds: dict[str, int]
    config_digest: str
    base: str
    parameters: dict[str, int]
    adapter: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, SplitResult]
    best: Best | None
    history: list[dict[str, float]]
    examples: dict[str, str]
    test_read: bool
    order_digest: str | None
    cost: Cost
    versions: dict[str, str]
    hardware: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None
    regularizers: list[dict[str, Any]] = field(default_factory=list)
    learning_rates: list[dict[str, Any]] = field(default_factory=list)
    order_trail: dict[str, Any] = field(default_factory=dict)
    base_revision: str | None = None
    resumed: list[dict[str, Any]] = field(default_factory=list)
    verdict: Verdict | None = None
    findings: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def write_record(record: Record, directory: Path) -> Path:
    """Validate and write ``record.json``, atomically.

    Raises:
        UserError: the record breaks its own schema, e.g. a metric is not finite.
    """
    content = asdict(record)
    path = directory / RECORD_FILE
    parse_record(content, str(path))
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n")
    return path


def read_record(run_directory: Path) -> Record:
    """Read and validate the record of a run.

    Raises:
        UserError: there is none, or it is not valid; the message names the first thing that is wrong.
    """
    path = run_directory / RECORD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{run_directory} has no {RECORD_FILE}, so that run is not done: it is still going, or it was killed. "
            "Name the directory of a finished run."
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); the run has to be made again.") from error
    return parse_record(content, str(path))


def parse_record(content: Any, where: str) -> Record:
    """A record from plain JSON types.

    Raises:
        UserError: a key is missing, unknown or of the wrong type, a number is not finite, or the schema is another.
    """
    if isinstance(content, dict) and content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise UserError(
            f"{where}: schema_version is {content['schema_version']!r} and this version of finelab reads "
            f"{SCHEMA_VERSION}; read it with the version in its versions.finelab."
        )
    record = _parse(content, Record, where, "record")
    if record.status == "finished" and not record.metrics and not record.notes:
        raise _invalid(where, "metrics", "is empty in a finished run, and no note says why", {})
    if record.status.startswith("failed") and record.error is None:
        raise _invalid(where, "error", "has to name the exception of a failed run", None)
    return record


def _parse(value: Any, kind: Any, where: str, key: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        _expect_finite(value, where, key)
        return value
    if origin is types.UnionType:
        return None if value is None else _parse(value, arguments[0], where, key)
    if origin is Literal:
        if value not in arguments:
            raise _invalid(where, key, f"has to be one of {', '.join(arguments)}", value)
        return value
    if origin is dict:
        _expect(isinstance(value, dict), where, key, "has to be an object", value)
        return {name: _parse(item, arguments[1], where, f"{key}.{name}") for name, item in value.items()}
    if origin is list:
        _expect(isinstance(value, list), where, key, "has to be a list", value)
        return [_parse(item, arguments[0], where, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(kind, type) and kind in (Record, SplitResult, Best, Cost, Verdict, Evidence, Remedy):
        return _parse_fields(value, kind, where, key)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        _expect(number, where, key, "has to be a finite number", value)
        return float(value)
    _expect(
        isinstance(value, kind) and not (kind is int and isinstance(value, bool)),
        where,
        key,
        f"has to be {kind.__name__}",
        value,
    )
    return value


def _parse_fields(value: Any, kind: type, where: str, key: str) -> Any:
    _expect(isinstance(value, dict), where, key, "has to be an object", value)
    names = [f.name for f in fields(kind)]
    for name in names:
        _expect(name in value, where, f"{key}.{name}", "is missing", None)
    for name in value:
        _expect(name in names, where, f"{key}.{name}", "is not a key of the schema", value[name])
    hints = get_type_hints(kind)
    return kind(**{name: _parse(value[name], hints[name], where, f"{key}.{name}") for name in names})


def _expect_finite(value: Any, where: str, key: str) -> None:
    """Everywhere inside plain JSON types, which JSON itself has no word for."""
    if isinstance(value, dict):
        for name, item in value.items():
            _expect_finite(item, where, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _expect_finite(item, where, f"{key}[{index}]")
    elif isinstance(value, float):
        _expect(math.isfinite(value), where, key, "has to be a finite number", value)


def _expect(holds: bool, where: str, key: str, must: str, value: Any) -> None:
    if not holds:
        raise _invalid(where, key, must, value)


def _invalid(where: str, key: str, must: str, value: Any) -> UserError:
    seen = json.dumps(value, default=str)
    return UserError(
        f"{where} is not a valid record: {key} {must} (seen: {seen[:120]}), so this run does not count as done."
    )
