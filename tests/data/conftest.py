"""Small made-up rows in files, and a folder for tokens of the test's own."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

WORDS = ["red", "green", "blue", "old", "new", "small", "large", "round", "wet", "dry", "warm", "cold", "slow", "fast"]


def made_up_rows(count: int, start: int = 0) -> list[dict[str, object]]:
    """Distinct texts of 1 to 17 words with two labels."""
    rows: list[dict[str, object]] = []
    for number in range(start, start + count):
        text = " ".join(WORDS[(number * 7 + k) % len(WORDS)] for k in range(1 + number * 5 % 17))
        rows.append({"text": f"{text} {number}", "label": number % 2, "label_text": ("no", "yes")[number % 2]})
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Iterable[object]], Path]:
    """Write rows as JSONL below the test's folder and return the file."""

    def write_rows(name: str, rows: Iterable[object]) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write_rows


@pytest.fixture
def rows() -> Callable[..., list[dict[str, object]]]:
    return made_up_rows


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    return str(tmp_path / "tokens")
