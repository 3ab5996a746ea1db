"""Readers of one file each: every row with its line, nothing dropped in silence."""

import csv
import gzip
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..contracts.errors import UserError
from .rejections import Reject, Row

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def suffix_of(path: Path) -> str:
    """``.jsonl.gz`` is one suffix."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def read_jsonl(file: Path, reject: Reject) -> Iterator[Row]:
    with file.open("rb") as stream:
        yield from jsonl_rows(stream, str(file), reject)


def read_jsonl_gz(file: Path, reject: Reject) -> Iterator[Row]:
    """Raises:
    UserError: the archive is damaged.
    """
    with gzip.open(file, "rb") as stream:
        try:
            yield from jsonl_rows(stream, str(file), reject)  # pyright: ignore[reportArgumentType]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{file} is a damaged gzip archive ({error}); fetch or write it anew.") from error


def jsonl_rows(stream: BinaryIO, name: str, reject: Reject) -> Iterator[Row]:
    """One JSON object a line; lines end at ``\\n`` alone, and empty lines are no rows."""
    for number, line in enumerate(stream, start=1):
        where = f"{name}:{number}"
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode(), object_pairs_hook=without_repeats)
        except UnicodeDecodeError as error:
            reject(where, f"not valid UTF-8 (byte {error.object[error.start]:#04x} at column {error.start + 1})")
        except json.JSONDecodeError as error:
            reject(where, f"not valid JSON ({error.msg} at column {error.colno})")
        except RecursionError:
            reject(where, "not usable JSON (nested too deeply)")
        except ValueError as error:  # a key twice, or a number of thousands of digits
            reject(where, f"not usable JSON ({error})")
        else:
            if isinstance(fields, dict):
                yield Row(where, fields)
            else:
                reject(where, f"not a JSON object ({type(fields).__name__} {str(fields)[:40]!r})")


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises:
    ValueError: a key stands twice, and nobody can say which value counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {key!r} stands twice")
    return found


def read_csv(file: Path, reject: Reject) -> Iterator[Row]:
    with file.open("rb") as stream:
        yield from csv_rows(stream, str(file), reject)


def csv_rows(stream: BinaryIO, name: str, reject: Reject) -> Iterator[Row]:
    """Comma-separated with a header; a quoted field may hold line breaks, and a row is named by its first line."""
    # Bytes that are no UTF-8 become lone surrogates, which the template's check of texts then names with their line.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        reader = csv.reader(text, strict=True)
        header = _header(reader, name)
        while True:
            where = f"{name}:{reader.line_num + 1}"
            try:
                values = next(reader, None)
            except csv.Error as error:
                reject(where, f"not valid CSV ({error})")
                continue
            if values is None:
                return
            if len(values) == len(header):
                yield Row(where, dict(zip(header, values, strict=True)))
            elif values:
                reject(where, f"another number of fields than the header ({len(values)}, not {len(header)})")
    finally:
        csv.field_size_limit(limit)


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    """Raises:
    UserError: there is none, it cannot be read, or it names a column twice.
    """
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise UserError(f"{name}:1: the header is not valid CSV ({error}).") from error
    if header is None:
        raise UserError(f"{name} is empty; the first line of a CSV file names its columns.")
    if repeated := [column for column, count in Counter(header).items() if count > 1]:
        raise UserError(f"{name}:1: the header names the column {repeated[0]!r} more than once; rename one of them.")
    return header


def read_parquet(file: Path, reject: Reject) -> Iterator[Row]:
    """Rows are named by their number, counted from one.

    Raises:
        UserError: no Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        with pyarrow.parquet.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches():
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(f"{file}:{number}", fields)
    except (pyarrow.ArrowException, OSError) as error:  # a damaged page is an OSError
        raise UserError(f"{file} cannot be read as Parquet ({str(error).splitlines()[0]}).") from error


READERS: dict[str, Callable[[Path, Reject], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl_gz,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def read_input(source: str, reject: Reject) -> Iterator[Row]:
    """Rows to predict: a file, or ``-`` for JSONL or CSV on standard input (told apart by a leading brace).

    Raises:
        UserError: no such file, or an ending that is not known.
    """
    if source != "-":
        file = Path(source).expanduser()
        if not file.is_file():
            raise UserError(f"The input {source} is not there (looked from {Path.cwd()}).")
        if suffix_of(file) not in READERS:
            raise UserError(f"The input {source} ends in none of {', '.join(READERS)}.")
        yield from READERS[suffix_of(file)](file, reject)
        return
    content = sys.stdin.buffer.read()
    is_jsonl = content.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{")
    yield from (jsonl_rows if is_jsonl else csv_rows)(io.BytesIO(content), "stdin", reject)
