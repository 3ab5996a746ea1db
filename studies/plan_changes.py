"""What a plan has that an earlier one had not."""

from collections.abc import Iterator

from ..contracts.config_diff import changes
from .plain_values import plain
from .plan import Plan

SETTINGS = ("metric", "replicates", "tune", "match", "noise", "confirm", "margin", "secondary", "within")
MOST_KEYS = 6


def plan_changes(before: Plan, after: Plan) -> Iterator[str]:
    """One line for each arm that is new, gone or configured otherwise, and for each setting of the study.

    Args:
        before: as it was last run.
        after: as it is now.
    """
    old, new = before.resolution.variants, after.resolution.variants
    for name in new:
        if name not in old:
            yield f"new: {name}"
    for name in old:
        if name not in new:
            yield f"no longer asked for: {name}"
    for name in new:
        if name in old:
            lines = [str(each) for each in changes(old[name].config, new[name].config) if each.changes_numbers]
            if old[name].data != new[name].data:
                lines.append("the data")
            if old[name].base != new[name].base:
                lines.append("the weights of the base")
            if before.steps.get(name) != after.steps.get(name):
                lines.append(f"trainer.max_steps: {before.steps.get(name)} -> {after.steps.get(name)}")
            if lines:
                more = f", and {len(lines) - MOST_KEYS} more" if len(lines) > MOST_KEYS else ""
                yield f"changed: {name}: {'; '.join(lines[:MOST_KEYS])}{more}"
    for name in SETTINGS:
        was, now = (plain(getattr(plan.study, name)) for plan in (before, after))
        if was != now:
            yield f"changed: {name} of the study"
    versions = (before.resolution.versions, after.resolution.versions)
    for package in sorted(versions[0].keys() | versions[1].keys()):
        was, now = (each.get(package, "(none)") for each in versions)
        if was != now:
            yield f"changed: {package} {was} -> {now}"
    if before.resolution.code != after.resolution.code:
        yield "changed: finelab's own source; finished cells keep the numbers of the one that they ran with"
