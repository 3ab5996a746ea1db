"""Measured training steps, kept with a study: the same arm on the same machine is measured once.

Where budgets are matched by time this is also what keeps a study the same when it is resumed.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..contracts.files import write_atomically
from .cell import identity
from .plan import without_harmless
from .resolution import Measured, Resolution, Resolved, Variant
from .resolver import resolve
from .study import Study

FILE = "measured.json"


class Measurements:
    """Of one study.

    Args:
        folder: of the study; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.known = self._read()

    def filled(self, resolution: Resolution) -> Resolution:
        """With what is known, where it was not measured just now."""
        variants = {
            name: found
            if found.measured
            else replace(found, measured=self.known.get(key_of(found, resolution.versions)))
            for name, found in resolution.variants.items()
        }
        return replace(resolution, variants=variants)

    def keep(self, resolution: Resolution) -> None:
        """Write down what is new."""
        new = {
            key_of(found, resolution.versions): found.measured
            for found in resolution.variants.values()
            if found.measured
        }
        if new.items() <= self.known.items():
            return
        self.known |= new
        content = {key: asdict(measured) for key, measured in self.known.items()}
        write_atomically(self.path, json.dumps(content, indent=1) + "\n")

    def _read(self) -> dict[str, Measured]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: Measured(**plain) for key, plain in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):  # damaged, or of another version: measured again
            return {}


def key_of(resolved: Resolved, versions: Mapping[str, str]) -> str:
    """Of what decides how long a step takes: configuration, data, weights, packages, machine."""
    about = {"data": resolved.data, "base": resolved.base, "versions": dict(versions), "host": socket.gethostname()}
    return identity({"config": without_harmless(resolved.config), **about})


def resolve_measured(study: Study, variants: Sequence[Variant]) -> Resolution:
    """All configurations with a measured step each; what was measured before is not measured again.

    Raises:
        UserError: a configuration is wrong.
    """
    kept = Measurements(study.folder)
    names = [variant.name for variant in variants]
    resolution = kept.filled(resolve(study, variants, () if kept.known else names))
    if left := [variant for variant in variants if resolution.variants[variant.name].measured is None]:
        more = resolve(study, left, [variant.name for variant in left])
        resolution = replace(resolution, variants=resolution.variants | more.variants)
    kept.keep(resolution)
    return resolution
