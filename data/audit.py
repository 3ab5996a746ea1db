"""What is in the data, counted before training: one dictionary for the record, one page for the terminal."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset

from .template import Template

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
WIDTH = 98
LABELS_SHOWN = 12
MOST_LINES = 19
BARS = 24


def audit_split(
    samples: Dataset, rows: int, context: int, template: Template, label_names: list[str] | None
) -> dict[str, Any]:
    """Counts of one tokenized split.

    Args:
        samples: as ``Template.encode`` made them.
        rows: how many rows they come from.
        context: most tokens of a sample.
        template: what counts as a label, and whether long rows are cut.
        label_names: the classes, if any.

    Returns:
        ``rows``, ``samples``, ``tokens`` (of all samples), ``supervised`` targets, ``supervised_share`` of the tokens
        (``answer_length`` where the targets are none of these tokens), ``length`` quantiles of whole rows before any
        cut, ``truncated`` (share of the rows that lost tokens) and a histogram; with classes ``labels``, and what else
        there is to say of this kind of template.
    """
    if not len(samples):
        found = {"samples": 0, "tokens": 0, "supervised": 0, "supervised_share": 0.0, "truncated": 0.0}
        empty = {"length": dict.fromkeys(QUANTILES, 0), "histogram": {"width": 1, "counts": []}}
        return {"rows": rows, **found, **empty}
    lengths = per_row(samples, "full_tokens")
    tokens = sum(len(chunk.flatten()) for chunk in samples.data.column("input_ids").chunks)
    supervised = int(values(samples, "supervised").sum())
    audit: dict[str, Any] = {
        "rows": rows,
        "samples": len(samples),
        "tokens": tokens,
        "supervised": supervised,
        "length": quantiles(lengths),
        "truncated": float((lengths > context).mean()) if template.cuts else 0.0,
        "histogram": histogram(lengths),
    }
    if template.target_kind == "text":
        audit["answer_length"] = quantiles(values(samples, "supervised"))
    else:
        audit["supervised_share"] = supervised / tokens
    if label_names is not None:
        counts = template.label_counts(flat_values(samples, "labels"), len(label_names))
        audit["labels"] = dict(zip(label_names, counts.tolist(), strict=True))
    if not template.cuts:
        audit["cut_documents"] = int((np.unique(values(samples, "row"), return_counts=True)[1] > 1).sum())
    return audit | _own_counts(samples)


def _own_counts(samples: Dataset) -> dict[str, Any]:
    """What the samples of some templates say.

    ``prompt_length`` and ``answer_length`` quantiles, ``shortened`` (rows that lost prompt tokens; they are the
    ``truncated`` ones then), ``answers_left_out`` (too long ones of rows with others), ``cut_words`` (tagged words
    beyond the context). A row that was cut into windows lost nothing.
    """
    found: dict[str, Any] = {}
    if "prompt_tokens" in samples.column_names:
        found["prompt_length"] = quantiles(values(samples, "prompt_tokens"))
        found["answer_length"] = quantiles(values(samples, "supervised"))
    if "shortened" in samples.column_names:
        is_shortened = per_row(samples, "shortened") > 0
        found["shortened"] = int(is_shortened.sum())
        found["truncated"] = float(is_shortened.mean())
    if "answers_left_out" in samples.column_names:
        found["answers_left_out"] = int(per_row(samples, "answers_left_out").sum())
    if "cut_words" in samples.column_names:
        found["cut_words"] = int(values(samples, "cut_words").sum())
    return found


def per_row(samples: Dataset, name: str) -> np.ndarray:
    """The largest value among the samples of each row that has any, in the order of the rows."""
    _, row = np.unique(values(samples, "row"), return_inverse=True)
    found = np.zeros(row.max() + 1, dtype=np.int64)
    np.maximum.at(found, row, values(samples, name))
    return found


def values(samples: Dataset, name: str) -> np.ndarray:
    """A column of numbers, without a Python object for each."""
    return samples.data.column(name).to_numpy()


def flat_values(samples: Dataset, name: str) -> np.ndarray:
    """The same of a column of numbers or of lists of them, the lists one after the other."""
    column = samples.data.column(name).combine_chunks()
    return (column.flatten() if pyarrow.types.is_list(column.type) else column).to_numpy()


def quantiles(lengths: np.ndarray) -> dict[str, int]:
    return {name: int(np.quantile(lengths, q, method="higher")) for name, q in QUANTILES.items()}


def histogram(lengths: np.ndarray) -> dict[str, Any]:
    """How many rows have up to ``width``, up to ``2 * width`` ... tokens; the last bar holds all longer ones.

    The bars reach to the 99th percentile, so that one extreme row does not flatten the others.
    """
    width = max(1, -(-int(np.quantile(lengths, 0.99, method="higher")) // (BARS - 1)))
    bars = np.minimum((lengths - 1) // width, BARS - 1)
    return {"width": width, "counts": np.bincount(bars, minlength=BARS).tolist()}


def majority_baseline(audits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The most frequent class of the training rows, of one class a row, and its share of each split."""
    counts = audits.get("train", {}).get("labels")
    if not counts:
        return None
    label = max(counts, key=lambda name: counts[name])
    return {"label": label, "accuracy": {s: a["labels"][label] / max(1, a["samples"]) for s, a in audits.items()}}


def render_report(report: Mapping[str, Any]) -> str:
    """The report as plain text, under 20 lines of a terminal of 100 columns."""
    splits: Mapping[str, Mapping[str, Any]] = report["splits"]
    lines = [
        f"Data  {report['name']}",
        f"      {report['template']}, context {report['context']}, pad {report['pad']}; {report['cache']}",
        _table(splits),
    ]
    lines += _labels(splits, report["majority"])
    lines += _scored(splits)
    lines += _rows_with(splits, "shortened", "prompts shortened  rows of")
    lines += _rows_with(splits, "answers_left_out", "answers left out, too long, of rows with others ")
    lines += _cut_words(splits)
    lines += [_fold(f"  {name}  {value}") for name, value in report["source"].items()]
    lines.append(_fold("  duplicates  " + _counted(report["duplicates"]["exact"])))
    lines += _near(report["duplicates"])
    lines += _conflicts(report)
    lines += _suspicious(splits)
    lines += _dropped(splits)
    lines += [_fold(f"  note  {note}") for note in report["notes"]]
    return _at_most(MOST_LINES, "\n".join(lines), _fold("  example  " + _middle(report["example"])))


def _at_most(most: int, text: str, end: str) -> str:
    lines, last = text.splitlines(), end.splitlines()
    left = len(lines) + len(last) - most
    if left > 0:
        lines = [*lines[: -left - 1], f"  ... and {left + 1} lines more; finelab data report shows everything"]
    return "\n".join([*lines, *last])


def _table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    windowed = any(audit["samples"] != audit["rows"] for audit in splits.values())
    head = ["rows", *(["windows"] if windowed else []), "tokens", "p50", "p90", "p99", "max", "cut off", "supervised"]
    width = 9 if windowed else 10
    lines = ["  " + f"{'split':<11}" + "".join(f"{name:>{width}}" for name in head[:-1]) + f"{head[-1]:>12}"]
    for split, audit in splits.items():
        cells = [f"{audit['rows']:,}", *([f"{audit['samples']:,}"] if windowed else []), f"{audit['tokens']:,}"]
        cells += [f"{audit['length'][name]:,}" for name in QUANTILES]
        cells.append(f"{audit['truncated']:.1%}")
        lines.append("  " + f"{split:<11}" + "".join(f"{cell:>{width}}" for cell in cells) + f"{_targets(audit):>12}")
    return "\n".join(lines)


def _targets(audit: Mapping[str, Any]) -> str:
    """How many tokens are targets: their share, or, where they are none of the tokens that are read, of each sample."""
    if audit["supervised"] == audit["samples"]:
        return "1 a row"
    if "supervised_share" in audit:
        return f"{audit['supervised_share']:.1%}"
    return f"{audit['supervised'] / audit['samples']:.1f} a row"


def _labels(splits: Mapping[str, Mapping[str, Any]], majority: Mapping[str, Any] | None) -> list[str]:
    """The training counts, and of the other splits the rarest class: it limits what can be measured there."""
    lines = []
    rarest = []
    for split, audit in splits.items():
        counts = sorted(audit.get("labels", {}).items(), key=lambda item: -item[1])
        if counts and not lines:
            text = ", ".join(f"{name} {count:,}" for name, count in counts[:LABELS_SHOWN])
            more = f", and {len(counts) - LABELS_SHOWN} more labels" if len(counts) > LABELS_SHOWN else ""
            lines.append(_fold(f"  labels  {split}: {text}{more}"))
        elif counts:
            rarest.append(f"{split}: {counts[-1][0]} {counts[-1][1]:,}")
    if rarest:
        lines.append(_fold(f"  rarest label  {'; '.join(rarest)}"))
    if majority is not None:
        shares = ", ".join(f"{split} {share:.1%}" for split, share in majority["accuracy"].items())
        lines.append(_fold(f"  always {majority['label']}  right in {shares}"))
    return lines


def _scored(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shares = [f"{split} {audit['chars_scored_share']:.2%}" for split, audit in splits.items() if "chars" in audit]
    return [f"  characters scored  {', '.join(shares)}"] if shares else []


def _cut_words(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = [f"{split} {audit['cut_words']:,}" for split, audit in splits.items() if audit.get("cut_words")]
    return [f"  words beyond the context, not tagged  {', '.join(found)}"] if found else []


def _rows_with(splits: Mapping[str, Mapping[str, Any]], key: str, name: str) -> list[str]:
    found = [f"{split} {audit[key]:,}" for split, audit in splits.items() if audit.get(key)]
    return [f"  {name} {', '.join(found)}"] if found else []


def _dropped(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for split, audit in splits.items():
        if dropped := audit["dropped"]["rows"]:
            reasons = ", ".join(f"{why} {count}" for why, count in audit["dropped"]["reasons"].items())
            lines.append(_fold(f"  dropped  {split} {dropped:,} rows: {reasons}"))
            lines.append(_fold(f"           first: {'; '.join(audit['dropped']['first'][:2])}"))
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    found = [f"{where} {count:,}" for where, count in counts.items() if count]
    if not found:
        return "none within or across splits"
    return "; ".join([*found, *(["none elsewhere"] if len(found) < len(counts) else [])])


def _near(duplicates: Mapping[str, Any]) -> list[str]:
    lines = []
    if duplicates["near"] is not None:
        lines.append(_fold(f"  near duplicates (from {duplicates['threshold']})  {_counted(duplicates['near'])}"))
    if duplicates["dropped"]:
        lines.append(f"  dropped  train {duplicates['dropped']:,} rows whose texts stand in another split")
    return lines


def _conflicts(report: Mapping[str, Any]) -> list[str]:
    found = report["conflicts"]
    if not found["texts"]:
        return []
    what = "conflicting labels" if report["label_names"] else "several answers"
    where = f", first at {' and '.join(found['examples'][0]['where'][:2])}"
    return [_fold(f"  {what}  {found['texts']:,} texts in {found['rows']:,} rows{where}")]


def _suspicious(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = [
        f"{split}: {finding['name']} {finding['rows']:,} (first {finding['where'][0]})"
        for split, audit in splits.items()
        for finding in audit["suspicious"]
    ]
    return [_fold(f"  suspicious  {'; '.join(found)}")] if found else []


def _fold(text: str, lines: int = 2) -> str:
    wrapped = textwrap.wrap(text, WIDTH, subsequent_indent=" " * 6, max_lines=lines, placeholder=" ...")
    return "\n".join(wrapped)


def _middle(example: str) -> str:
    """An example on two lines with its marks kept: the beginning, and what stands around the end."""
    flat = " ".join(example.split())
    return flat if len(flat) <= 170 else f"{flat[:110]} [...] {flat[-50:]}"
