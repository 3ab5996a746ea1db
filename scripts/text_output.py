"""A JSONL file of generated text that grows line by line, and what a later run must know to go on with it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.uri import resolve
from ..models.backbone import digest
from ..models.finetuner import FineTuner
from .invocation import WEIGHTS, Invocation


class TextOutput:
    """Nothing of an earlier file is lost before the first new line is there.

    Until the last line is written, ``FILE.resume`` beside the file says what it is made with.

    Args:
        target: the file.
        ids: of the rows, in input order.
        made_with: everything that the text depends on (``made_with``).
        resume: keep the whole lines that the file has.

    Attributes:
        rows: how many lines are kept.

    Raises:
        UserError: the lines there are not the beginning of this output, or the file is unfinished and not to be
            resumed.
    """

    def __init__(self, target: Path, ids: Sequence[Any], made_with: Mapping[str, object], resume: bool) -> None:
        self.target, self.made_with = target, made_with
        self.note = target.with_name(target.name + ".resume")
        self.rows = self.size = 0
        self.file: int | None = None
        if not target.exists() or not target.stat().st_size:
            return
        if resume:
            self.rows, self.size = kept_rows(target, ids)
            if self.rows < len(ids) or self.note.exists():
                self._check()
        elif self.note.exists():
            raise UserError(
                f"--output {target} is unfinished ({self.note.name} lies beside it): go on with --resume, or delete "
                "both files to begin anew."
            )

    def _check(self) -> None:
        if not self.note.exists():
            raise UserError(
                f"--resume: {self.target} is unfinished, and {self.note.name}, which says what it was made with, does "
                "not lie beside it. Put it back, or delete the output to begin anew."
            )
        before, now = json.loads(self.note.read_text()), dict(self.made_with)
        for key in [*now, *(before.keys() - now.keys())]:
            if before.get(key) != now.get(key):
                raise UserError(
                    f"--resume: {self.target} was begun with another {key} ({before.get(key)}, now {now.get(key)}), "
                    "so that its lines would be of two kinds. Go on with what it was begun with, or give another "
                    "--output."
                )

    def write(self, line: str) -> None:
        content = line.encode()
        handle = self._open()
        while content:
            content = content[os.write(handle, content) :]

    def _open(self) -> int:
        """The file behind its kept lines; the note is written once nothing else is left in the file."""
        if self.file is None:
            self.file = os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self.file, self.size)
            if not self.rows:
                write_atomically(self.note, json.dumps(self.made_with, indent=1) + "\n")
        return self.file

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def finish(self) -> None:
        """Every row has its line."""
        os.fsync(self._open())
        self.close()
        self.note.unlink(missing_ok=True)


def kept_rows(target: Path, ids: Sequence[Any]) -> tuple[int, int]:
    """How many rows an interrupted output has, and in how many bytes; a last line that was torn does not count.

    Raises:
        UserError: another output.
    """
    content = target.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            found = line[:40]
        if number > len(ids) or found != ids[number - 1]:
            wanted = ids[number - 1] if number <= len(ids) else "no row"
            raise UserError(
                f"--resume: {target}:{number} has the id {found!r}, and the input has {wanted!r} there, so that file "
                "is not the beginning of this output. Give the input it was made from, or another --output."
            )
    return len(lines), len(whole)


def made_with(
    loader: DataLoader, ids: Sequence[Any], model: FineTuner, config: Mapping[str, Any], invocation: Invocation
) -> dict[str, object]:
    """What every line of text depends on.

    Args:
        loader: the prompts in tokens: what the input, the template, the tokenizer and the context come to.
        ids: of the rows.
        model: its base counts where there is no run.
        config: as resolved.
        invocation: of a run, the weights count.
    """
    prompts = hashlib.sha256(json.dumps(list(ids)).encode())
    for sample in loader.dataset:  # pyright: ignore[reportGeneralTypeIssues]
        prompts.update(np.asarray(sample["input_ids"], dtype=np.int64).tobytes() + b"|")
    base = digest(resolve(model.base), model.loading, model.seeds.init)
    return {
        "input or template (digest of the prompts)": prompts.hexdigest(),
        "checkpoint (digest of the weights)": base
        if invocation.run is None
        else folder_digest(invocation.run / WEIGHTS),
        "batch size": loader.batch_size,
        **dict(flat("model", config["model"])),
        **dict(flat("seeds", config["seeds"])),
        "trainer.precision": str(config["trainer"]["precision"]),
    }


def folder_digest(folder: Path) -> str:
    content = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()


def flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Dotted keys as a user writes them, with their values."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flat(key if name == "init_args" else f"{key}.{name}", part)
    else:
        yield key, value
