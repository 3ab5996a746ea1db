"""The lowest versions that are allowed lie above those with known holes, and what is installed does as well."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
HOLES = {
    "lightning": {
        "2.4.0": "CVE-2026-31221, VU#252619: unsafe load",
        "2.6.2": "GHSA-w37p-236h-pfx3: malware on import",
        "2.6.3": "GHSA-w37p-236h-pfx3: malware on import",
        "2.6.4": "Lightning #21822: _instantiator in hyper_parameters",
    },
    "torch": {
        "2.5.1": "CVE-2025-32434: weights_only can be bypassed",
        "2.9.1": "CVE-2026-24747: memory corruption in the unpickler of weights_only",
    },
    "transformers": {
        "4.57.0": "CVE-2026-1839: rng_state.pth",
        "5.2.0": "CVE-2026-4372: a field of the configuration loads kernels of the hub",
    },
    "peft": {"0.17.0": "PEFT #2888, transformers #46482: imports that adapter_config.json asks for"},
    "datasets": {"3.6.0": "scripts of the hub are run"},
    "pyarrow": {"14.0.0": "CVE-2023-47248: pickled extension types"},
    "jsonargparse": {"4.52.0": "no list of allowed import paths"},
    "jinja2": {"3.1.5": "CVE-2025-27516: the sandbox is left through |attr"},
}
"""Package -> the last version of each hole."""


def requirements() -> dict[str, Requirement]:
    found = map(Requirement, tomllib.loads(PROJECT.read_text())["project"]["dependencies"])
    return {requirement.name: requirement for requirement in found}


@pytest.mark.parametrize("package", HOLES)
def test_a_version_with_a_known_hole_is_not_allowed(package):
    requirement = requirements()[package]
    for bad, why in HOLES[package].items():
        assert not requirement.specifier.contains(bad), f"{requirement} admits {bad}: {why}"
        assert Version(version(package)) > Version(bad), why


def test_every_dependency_has_a_floor():
    for requirement in requirements().values():
        assert any(bound.operator in (">=", "==", "~=") for bound in requirement.specifier), requirement
