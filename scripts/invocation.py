"""What a command line says, read without torch: our own options apart, the rest for Lightning's parser."""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..contracts.uri import package_path
from .config_file import Entry, read_entries

COMMANDS = ("fit", "validate", "test", "predict")
CHECK = "check"
DATA_REPORT = "data report"
EXPORT = "export"
PARSED_AS = {CHECK: "fit", DATA_REPORT: "fit", EXPORT: "validate"}
"""Commands of ours, and those of Lightning whose configuration they take."""
OWN_OPTIONS = ("--trust-module", "--run", "--input", "--output", "--tolerance", "--rows", "--config", "-c")
RESUME = "--resume"
NO_CHECK = "--no-check"
WEIGHTS = Path("checkpoints") / "best"


@dataclass(frozen=True)
class Invocation:
    """One command line.

    Args:
        command: fit, check, validate, test, predict, export or data report.
        arguments: what Lightning's parser gets, the command first (``PARSED_AS``) and config files resolved to paths.
        configs: the config files from left to right.
        trusted: packages that a configuration may name beside the allowed ones.
        run: the run directory that configuration and weights come from.
        input: predict reads this file, or stdin for "-".
        output: predict writes this file, or stdout for "-"; check writes its findings as JSON; data report writes into
            this folder, export makes it.
        resume: predict goes on with the text of an output that was interrupted.
        tolerance: export fails above this difference of two logits, as a share of the largest one; None for that of the
            weights' type.
        rows: export compares on so many.
        check: fit tries its first steps before it starts.
        written: the command line as it was typed.
    """

    command: str
    arguments: tuple[str, ...]
    configs: tuple[Path, ...]
    trusted: tuple[str, ...]
    run: Path | None
    input: str | None
    output: str | None
    resume: bool
    written: tuple[str, ...]
    tolerance: float | None = None
    rows: int = 32
    check: bool = True

    @property
    def stem(self) -> str:
        """What the default run name starts with."""
        return self.configs[-1].stem if self.configs else self.command

    @cached_property
    def entries(self) -> dict[Path, list[Entry]]:
        """The keys of each config file, kept from the start: jsonargparse goes into the file's folder as it parses."""
        return {path: read_entries(path) for path in self.configs}

    def options(self) -> Iterator[tuple[str, str | None]]:
        """Every ``--key value`` for Lightning's parser, without the dashes; the value is None where none follows."""
        words = self.arguments[1:]
        for position, word in enumerate(words):
            if word.startswith("--"):
                key, equals, value = word[2:].partition("=")
                following = words[position + 1] if position + 1 < len(words) else None
                if not equals and following is not None and not following.startswith("--"):
                    value, equals = following, "="
                yield key, value if equals else None


def read_invocation(argv: list[str]) -> Invocation:
    """Sort a command line into our options and Lightning's.

    Raises:
        UserError: an unknown command, an option without its value, a run or config file that is not there.
    """
    command, written = argv[0], tuple(argv)
    if argv[:2] == ["data", "report"]:
        command, argv = DATA_REPORT, [DATA_REPORT, *argv[2:]]
    elif command not in (*COMMANDS, CHECK, EXPORT):
        typed, known = " ".join(argv[:2]) if command == "data" else command, (*COMMANDS, *PARSED_AS)
        near = difflib.get_close_matches(typed, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "finelab --help lists them."
        raise UserError(f"{command!r} is no command; the command comes first: {', '.join(known)}; {hint}")
    taken: dict[str, list[str]] = {name: [] for name in OWN_OPTIONS}
    rest: list[str] = []
    configs: list[Path] = []
    words = iter(argv[1:])
    for word in words:
        if word in (RESUME, NO_CHECK):
            continue
        name, equals, value = word.partition("=")
        if name not in OWN_OPTIONS:
            rest.append(word)
            continue
        value = value if equals else next(words, "")
        if not value:
            raise UserError(f"{name} on the command line needs a value; finelab --help shows which.")
        if name in ("-c", "--config"):
            configs.append(config_path(value))
            rest += ["-c", str(configs[-1])]
        else:
            taken[name].append(value)
    run = read_run(command, last(taken, "--run"))
    if run is not None:
        configs.insert(0, run / "config.yaml")
        rest = ["-c", str(run / "config.yaml"), *rest]
    if command == EXPORT:
        check_export_options(run, last(taken, "--input"), last(taken, "--output"))
    else:
        check_predict_options(command, last(taken, "--input"), last(taken, "--output"))
    check_resume(command, RESUME in argv, last(taken, "--output"))
    if NO_CHECK in argv and command != "fit":
        raise UserError(f"{NO_CHECK} on the command line belongs to fit, not to {command}.")
    return Invocation(
        command=command,
        arguments=(PARSED_AS.get(command, command), *rest),
        configs=tuple(configs),
        trusted=tuple(taken["--trust-module"]),
        run=run,
        input=last(taken, "--input"),
        output=last(taken, "--output"),
        resume=RESUME in argv,
        written=("finelab", *written),
        check=NO_CHECK not in argv,
        **export_numbers(command, last(taken, "--tolerance"), last(taken, "--rows")),
    )


def last(taken: dict[str, list[str]], name: str) -> str | None:
    return taken[name][-1] if taken[name] else None


def config_path(value: str) -> Path:
    """The file behind the value of -c.

    Raises:
        UserError: there is no such file.
    """
    path = package_path(value) if value.startswith("pkg://") else Path(value).expanduser()
    if path.is_file():
        return path
    folder = path.parent
    near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()] if folder.is_dir() else [], 1)
    hint = f"did you mean {folder / near[0]}?" if near else f"looked from {Path.cwd()}."
    what = "is a folder, not a config file" if path.is_dir() else "does not exist"
    raise UserError(f"The config file {value!r} given by -c on the command line {what}; {hint}")


def read_run(command: str, value: str | None) -> Path | None:
    """The run directory of validate, test, predict and export.

    Raises:
        UserError: it lacks its configuration or its weights, or the command is fit.
    """
    if value is None:
        return None
    if command in ("fit", CHECK, DATA_REPORT):
        raise UserError(
            f"--run {value} on the command line is for validate, test, predict and export, not for {command}; fit "
            "makes a run: name it with --run.name and say where with --run.root."
        )
    run = Path(value).expanduser()
    missing = [str(part) for part in (Path("config.yaml"), WEIGHTS) if not (run / part).exists()]
    if not missing:
        return run
    folder = run.parent if run.parent.is_dir() else Path("runs")
    names = [p.name for p in folder.iterdir() if (p / "config.yaml").exists()] if folder.is_dir() else []
    near = difflib.get_close_matches(run.name, names, 1)
    hint = f"did you mean {folder / near[0]}?" if near else "give the directory that a finished finelab fit printed."
    what = f"it has no {' and no '.join(missing)}" if run.is_dir() else "there is no such folder"
    raise UserError(f"--run {value} on the command line is not a finished run: {what}; {hint}")


def check_predict_options(command: str, source: str | None, target: str | None) -> None:
    """Refuse --input and --output elsewhere, and where they cannot be read or written.

    Raises:
        UserError: as said.
    """
    if command == DATA_REPORT and source is None:
        if target is not None and Path(target).is_file():
            raise UserError(f"--output {target} on the command line is a file; data report writes into a folder.")
        return
    if command == CHECK and source is None:
        if target is not None and Path(target).suffix != ".json":
            raise UserError(
                f"--output {target} on the command line must end in .json; check writes its findings there."
            )
        return
    if command != "predict":
        given = [name for name, value in (("--input", source), ("--output", target)) if value is not None]
        if given:
            raise UserError(f"{' and '.join(given)} on the command line belong to predict, not to {command}.")
        return
    if target is not None and target != "-" and Path(target).suffix not in (".jsonl", ".csv"):
        raise UserError(f"--output {target} on the command line must end in .jsonl or .csv, or be - for JSONL.")
    if source is not None and source != "-" and not Path(source).is_file():
        raise UserError(f"--input {source} on the command line does not exist; looked from {Path.cwd()}.")
    if target is not None and target != "-" and not Path(target).absolute().parent.is_dir():
        raise UserError(f"--output {target} cannot be written: the folder {Path(target).absolute().parent} is missing.")
    if target is not None and source not in (None, "-") and Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"--output {target} on the command line is the file that --input reads; name another one.")


def check_resume(command: str, resumes: bool, target: str | None) -> None:
    """Refuse --resume where there is nothing to go on with.

    Raises:
        UserError: not predict, or an output that is no JSONL file.
    """
    if resumes and command != "predict":
        raise UserError(f"{RESUME} on the command line belongs to predict, not to {command}.")
    if resumes and (target is None or Path(target).suffix != ".jsonl"):
        raise UserError(f"{RESUME} on the command line needs the JSONL file to go on with: --output FILE.jsonl.")


def check_export_options(run: Path | None, source: str | None, target: str | None) -> None:
    """Refuse an export without a run or a new folder.

    Raises:
        UserError: as said.
    """
    if run is None or target is None:
        raise UserError("export on the command line needs both --run RUN and --output DIR.")
    if source is not None:
        raise UserError(f"--input {source} on the command line belongs to predict, not to {EXPORT}.")
    folder = Path(target).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(
            f"--output {target} on the command line is there already and is never overwritten; name a new folder, or "
            "remove it yourself."
        )
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--output {target} cannot be written: the folder {folder.absolute().parent} is missing.")


def export_numbers(command: str, tolerance: str | None, rows: str | None) -> dict[str, Any]:
    """The values of --tolerance and --rows, where they were given.

    Raises:
        UserError: no positive numbers, or another command.
    """
    found: dict[str, Any] = {}
    for name, text, kind in (("tolerance", tolerance, float), ("rows", rows, int)):
        if text is None:
            continue
        if command != EXPORT:
            raise UserError(f"--{name} on the command line belongs to {EXPORT}, not to {command}.")
        try:
            found[name] = kind(text)
        except ValueError:
            found[name] = -1
        if not 0 <= found[name] < math.inf or (kind is int and not found[name]):
            raise UserError(
                f"--{name} {text} on the command line must be a positive {'number' if kind is float else 'count'}."
            )
    return found
