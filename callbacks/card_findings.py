"""The card's lines on what was measured beside the metrics: calibration, forgetting, movement, what was written.

A finding is JSON; where it is ``{"missing": reason}`` the line is a dash with the reason.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..contracts.metrics import TITLES, strongest_reference
from ..contracts.record import Record
from .advice import shown_split

Finding = Mapping[str, Any]


def findings(record: Record) -> list[tuple[str, str]]:
    """Name and text of a line for each measure of the run; nothing for those that it has not got."""
    lines: dict[str, Callable[[Record], str | None]] = {
        "calibration": _calibration,
        "forgetting": _forgetting,
        "learning": _learning,
        "movement": _movement,
        "writing": _writing,
        "canaries": _canaries,
    }
    return [(name, text) for name, line in lines.items() if (text := line(record))]


def _calibration(record: Record) -> str | None:
    found = record.findings.get("calibration")
    if found is None or "missing" in found:
        return _missing(found)
    before, after, temperature = found["before"], found["after"], found["temperature"]
    if "missing" in before:
        return f"– ({before['missing']})"
    text = f"ECE {_ece(before)}"
    if isinstance(temperature, dict) or "missing" in after:
        reason = temperature if isinstance(temperature, dict) else after
        return f"{text}; temperature – ({reason['missing']})"
    rows = found["rows"]
    return (
        f"{text} → {_ece(after)} at temperature {temperature:.2f} (fitted on {rows['val_a']:,} validation rows, "
        f"measured on {rows['val_b']:,} others)"
    )


def _ece(found: Finding) -> str:
    interval = f" [{found['low']:.3f}, {found['high']:.3f}]" if "low" in found else ""
    return f"{found['ece']:.3f}{interval}"


def _forgetting(record: Record) -> str | None:
    found = record.findings.get("forgetting")
    if found is None or "missing" in found:
        return _missing(found)
    parts = [_general(found.get("general", {})), _divergence(found.get("kl", {}))]
    if "feature_drift" in found:
        parts.append(_number("drift of the features (1 - cosine)", found["feature_drift"]))
    return "; ".join(part for part in parts if part)


def _general(found: Finding) -> str:
    if "missing" in found:
        return f"GENERAL – ({found['missing']})"
    before, after, change = found["before"]["nll"], found["after"]["nll"], found["difference"]
    interval = f" [{change['low']:+.3f}, {change['high']:+.3f}]" if "low" in change else ""
    return f"GENERAL {before:.3f} → {after:.3f}, {change['nll']:+.3f}{interval} nats/token"


def _divergence(found: Finding) -> str:
    if "missing" in found:
        return f"KL – ({found['missing']})"
    both = [found.get("kl_base_tuned"), found.get("kl_tuned_base")]
    numbers = [value for value in both if isinstance(value, float | int)]
    if len(numbers) == 2:
        return f"KL(base‖tuned) {numbers[0]:.3f}, KL(tuned‖base) {numbers[1]:.3f}"
    return next((f"KL – ({value['missing']})" for value in both if isinstance(value, dict)), "")


def _number(name: str, value: Any) -> str:
    return f"{name} – ({value['missing']})" if isinstance(value, dict) else f"{name} {value:.3f}"


def _learning(record: Record) -> str | None:
    """What was gained where something was forgotten, at the last validation up to the kept weights."""
    course, best = record.findings.get("forgetting", {}).get("course", []), record.best
    upto = [entry for entry in course if best is not None and entry["step"] <= best.step and "learning" in entry]
    if not upto or best is None:
        return None
    entry, name = upto[-1], best.monitor.rpartition("/")[2]
    gain = entry["learning"]
    changed = "worse" if gain < 0 else "better"
    cost = _cost(entry, "for" if gain > 0 else "and")
    return f"{TITLES.get(name, name)} {changed} by {abs(gain):.3f}{cost} (step {entry['step']:,.0f})"


def _cost(entry: Mapping[str, float], joined: str) -> str:
    if entry.get("forgetting", 0.0) < 0:
        return f" and GENERAL improved by {-entry['forgetting']:.3f} nats/token"
    lost = {"forgetting": "nats/token on GENERAL", "kl_base_tuned": "nats/token of KL", "feature_drift": "of drift"}
    return next((f" {joined} {entry[key]:+.3f} {unit}" for key, unit in lost.items() if key in entry), "")


def _movement(record: Record) -> str | None:
    found = record.findings.get("movement")
    if found is None or "missing" in found:
        return _missing(found)
    whole = found["all"]
    if "missing" in whole:
        return f"– ({whole['missing']})"
    text = f"|W − W₀| / |W₀| = {whole.get('relative', whole['update']):.2%}"
    blocks = {name: block["relative"] for name, block in found["blocks"].items() if "relative" in block}
    if len(blocks) > 1:
        most, least = max(blocks, key=blocks.__getitem__), min(blocks, key=blocks.__getitem__)
        text += f"; most in {most} ({blocks[most]:.2%}), least in {least} ({blocks[least]:.2%})"
    return text


def _writing(record: Record) -> str | None:
    """Length and ends of generated text beside the base's."""
    split = shown_split(record)
    if split is None or "generation_length" not in record.metrics[split].after:
        return None
    result = record.metrics[split]
    reference = strongest_reference(result.before)
    before = result.before[reference] if reference is not None else {}
    parts = []
    for key, name, shape in (
        ("generation_length", "tokens an answer", ".1f"),
        ("generation_ended", "ended by themselves", ".0%"),
        ("generation_nll", "nats/token of its own", ".3f"),
    ):
        if key in result.after:
            was = f"{format(before[key], shape)} → " if key in before else ""
            parts.append(f"{was}{format(result.after[key], shape)} {name}")
    return "; ".join(parts)


def _canaries(record: Record) -> str | None:
    """Exposure of the canaries before and after training."""
    found = record.findings.get("canary_exposure")
    if found is None or "missing" in found:
        return _missing(found)
    before = f"{found['base']['exposure']:.1f} → " if "exposure" in found["base"] else ""
    chance = f"{found['by_chance']:.2f} by chance, p = {found['best']['probability_by_chance']:.1g}"
    return f"exposure {before}{found['best']['exposure']:.1f} bits of at most {found['most']:.1f} ({chance})"


def _missing(found: Finding | None) -> str | None:
    return None if found is None else f"– ({found['missing']})"
