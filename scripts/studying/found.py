"""The study that a command line names: a study file, or the folder of its results."""

import difflib
from dataclasses import replace
from pathlib import Path

from ...contracts.errors import UserError
from ...contracts.uri import package_path
from ...studies.engines.engine import Engine
from ...studies.engines.engine_of import engine_of
from ...studies.plan import PLAN_FILE, Plan
from ...studies.study import Study
from ...studies.study_file import read_study
from .words import Words


def find_study(words: Words) -> Study:
    """What the file says, with what the command line says instead.

    Raises:
        UserError: there is no such file, it is no study, or it says what cannot be.
    """
    place = package_path(words.file) if words.file.startswith("pkg://") else Path(words.file).expanduser()
    root = None if words.root is None else Path(words.root).expanduser()
    if place.is_dir():
        study = _of_results(place)
    elif place.is_file():
        study = read_study(place, root)
    else:
        raise UserError(f"The study {words.file!r} on the command line does not exist; {_near(place)}")
    if words.slots is not None:
        study = replace(study, engine=replace(study.engine, options=study.engine.options | {"slots": words.slots}))
    return replace(study, trusted=tuple(dict.fromkeys((*study.trusted, *words.trusted))))


def engine_for(study: Study) -> Engine:
    """The engine that the study asks for, not yet opened.

    Raises:
        UserError: it has no such option, or not with that value; the message names the study file.
    """
    try:
        return engine_of(study.engine, study.folder)
    except UserError as error:
        raise UserError(f"{study.file}: {error}") from error


def _of_results(folder: Path) -> Study:
    if not (folder / PLAN_FILE).is_file():
        names = sorted(path.name for path in folder.glob("*.yaml"))
        inside = f"it holds {', '.join(names[:5])}: name one of them" if names else "name a study file"
        raise UserError(
            f"{folder} on the command line is a folder without {PLAN_FILE}, so no study has run there; {inside}."
        )
    study = Plan.load(folder).study
    return replace(study, root=folder.absolute().parent, name=folder.absolute().name)


def _near(place: Path) -> str:
    folder = place.parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(place.name, names, 1)
    return f"did you mean {folder / near[0]}?" if near else f"looked from {Path.cwd()}."
