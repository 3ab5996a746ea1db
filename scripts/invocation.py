"""What a command line says, read without torch: our own options apart, the rest for Lightning's parser."""

import difflib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..contracts.config_file import Entry, read_entries
from ..contracts.errors import UserError
from ..contracts.run_config import CONFIG_FILE
from ..contracts.run_lock import is_locked
from ..contracts.state_folder import latest_state
from ..contracts.uri import package_path
from .options import (
    CHECK,
    COMPARE,
    DATA_REPORT,
    EXPORT,
    NO_CHECK,
    RESUME,
    check_export_options,
    check_fit_options,
    check_predict_options,
    check_resume,
    export_numbers,
)
from .resume import (
    WEIGHTS,
    how_to_go_on,
    how_to_start_again,
    near_run,
    put_back,
    run_to_resume,
    state_to_start_from,
    status_of,
)

COMMANDS = ("fit", "validate", "test", "predict")
PARSED_AS = {CHECK: "fit", DATA_REPORT: "fit", EXPORT: "validate"}
"""Commands of ours, and those of Lightning whose configuration they take."""
OWN_OPTIONS = ("--trust-module", "--run", "--input", "--output", "--tolerance", "--rows", "--config", "-c")
FIT_OPTIONS = (RESUME, "--ckpt_path", "--allow-change")
SEVERAL = ("--allow-change",)
"""Options that take every word up to the next option."""


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
        resumed: the run that fit goes on with.
        start: the training state that a new run starts from.
        allowed: keys that may differ from the configuration of that training state.
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
    resumed: Path | None = None
    start: Path | None = None
    allowed: tuple[str, ...] = ()
    tolerance: float | None = None
    rows: int = 32
    check: bool = True

    @property
    def stem(self) -> str:
        """What the default run name starts with."""
        return self.configs[-1].stem if self.configs else self.command

    @cached_property
    def state(self) -> Path | None:
        """The training state that fit goes on from, found once: a training run replaces its states."""
        return self.start if self.resumed is None else latest_state(self.resumed)

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
        typed, known = " ".join(argv[:2]) if command == "data" else command, (*COMMANDS, *PARSED_AS, COMPARE, "study")
        near = difflib.get_close_matches(typed, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "finelab --help lists them."
        raise UserError(f"{command!r} is no command; the command comes first: {', '.join(known)}; {hint}")
    taken, configs, rest = sort_words(command, argv[1:])
    run, resumed = read_run(command, last(taken, "--run")), None
    if command == "fit":
        check_fit_options(taken)
        resumed = run_to_resume(taken[RESUME][-1]) if taken[RESUME] else None
    elif command == EXPORT:
        check_export_options(run, last(taken, "--input"), last(taken, "--output"))
    if command != EXPORT:
        check_predict_options(command, last(taken, "--input"), last(taken, "--output"))
    check_resume(command, RESUME in argv, last(taken, "--output"))
    if NO_CHECK in argv and command != "fit":
        raise UserError(f"{NO_CHECK} on the command line belongs to fit, not to {command}.")
    made = run or resumed
    if made is not None:
        configs.insert(0, made / CONFIG_FILE)
        rest = ["-c", str(made / CONFIG_FILE), *rest]
    start = last(taken, "--ckpt_path")
    return Invocation(
        command=command,
        arguments=(PARSED_AS.get(command, command), *rest),
        configs=tuple(configs),
        trusted=tuple(taken["--trust-module"]),
        run=run,
        input=last(taken, "--input"),
        output=last(taken, "--output"),
        resume=command != "fit" and RESUME in argv,
        written=("finelab", *written),
        resumed=resumed,
        start=None if start is None else state_to_start_from(start),
        allowed=tuple(taken["--allow-change"]),
        check=NO_CHECK not in argv,
        **export_numbers(command, last(taken, "--tolerance"), last(taken, "--rows")),
    )


def sort_words(command: str, words: list[str]) -> tuple[dict[str, list[str]], list[Path], list[str]]:
    """Values of our own options, config files, and the words for Lightning's parser.

    Raises:
        UserError: an option without its value, or a config file that is not there.
    """
    taken: dict[str, list[str]] = {name: [] for name in (*OWN_OPTIONS, *FIT_OPTIONS)}
    configs: list[Path] = []
    rest: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        name, equals, value = word.partition("=")
        if word == NO_CHECK or (word == RESUME and command != "fit"):
            continue
        if name not in (OWN_OPTIONS if command != "fit" else taken):
            rest.append(word)
            continue
        value = value if equals else left.popleft() if left else ""
        if not value or (not equals and value.startswith("--")):
            raise UserError(f"{name} on the command line needs a value; finelab --help shows which.")
        if name in ("-c", "--config"):
            configs.append(config_path(value))
            rest += ["-c", str(configs[-1])]
        else:
            taken[name].append(value)
        while name in SEVERAL and left and not left[0].startswith("-"):
            taken[name].append(left.popleft())
    return taken, configs, rest


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
    put_back(run)
    missing = [str(part) for part in (Path(CONFIG_FILE), WEIGHTS) if not (run / part).exists()]
    if not missing:
        return run
    if missing == [str(WEIGHTS)] and latest_state(run) is not None:
        raise UserError(
            f"--run {value} on the command line is not finished, and no weights of it have won a validation yet; "
            f"{how_to_go_on(run)} goes on with it."
        )
    if missing == [str(WEIGHTS)] and status_of(run) is None:
        end = (
            "has not begun to train"
            if is_locked(run)
            else f"was stopped before training began; {how_to_start_again(run)}"
        )
        raise UserError(f"--run {value} on the command line has no weights: it {end}.")
    what = f"it has no {' and no '.join(missing)}" if run.is_dir() else "there is no such folder"
    raise UserError(f"--run {value} on the command line is not a finished run: {what}; {near_run(run)}")
