"""The top-level folders are the sub-packages of finelab: the list is complete, and the wheel holds everything."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTED = SETTINGS["tool"]["setuptools"]["packages"]
MAPPED = SETTINGS["tool"]["setuptools"]["package-dir"]


def folder(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])


def test_the_package_list_is_the_folders_with_an_init():
    rooms = [Path(room) for room in MAPPED.values()]
    found = {
        "finelab." + ".".join(init.parent.relative_to(ROOT).parts)
        for room in rooms
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert found == set(LISTED)
    assert {name: f"finelab.{name}" for name in MAPPED.values()} == {folder: name for name, folder in MAPPED.items()}


def test_every_room_is_typed():
    for room in MAPPED.values():
        assert room == "configs" or (ROOT / room / "py.typed").is_file()


def test_finelab_itself_is_only_a_namespace():
    assert not (ROOT / "finelab").exists()
    assert not (ROOT / "__init__.py").exists()


def test_the_constraints_pin_every_direct_dependency():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert pinned["torch"] == "2.13.0", "a newer torch pulls gigabytes"
    project = SETTINGS["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for line in wanted:
        name = line.partition(">")[0].partition("[")[0]
        assert name in {known.lower().replace("_", "-") for known in pinned}, f"{name} is not pinned"


def test_no_index_and_no_host_is_named():
    for name in ("Makefile", ".ci/run", "constraints.txt", "requirements/demo.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text and "index-url" not in text and "find-links" not in text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves files behind, and without isolation, so that no network is needed."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for file in (ROOT / "pyproject.toml", ROOT / "LICENSE", *ROOT.glob("*.md")):
        shutil.copy(file, source)
    for room in MAPPED.values():
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_holds_every_module_and_every_yaml(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in LISTED:
        files = [file for kind in ("*.py", "*.yaml", "*.jinja") for file in folder(package).glob(kind)]
        wanted = {"/".join([*package.split("."), file.name]) for file in files}
        assert wanted <= inside
    assert "finelab/configs/defaults.yaml" in inside
    assert not any(name.startswith(("finelab/__init__", "tests/", "benchmarks/")) for name in inside)


def test_the_wheel_imports_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    command = [sys.executable, str(ROOT / ".ci" / "import_all.py"), str(tmp_path / "site")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "modules imported from the wheel" in result.stdout
