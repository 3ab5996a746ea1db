"""Every study in configs/studies can be read, and says what a reader needs before it runs."""

from pathlib import Path

import pytest

from finelab.studies.design import arms_of
from finelab.studies.study_file import read_study

FOLDER = Path(__file__).parents[1] / "configs" / "studies"
FILES = sorted(FOLDER.glob("*.yaml"))
ARMS = {
    "adapters_x_regularizers": 12,
    "base_selection": 3,
    "forgetting_study": 5,
    "learning_curve": 6,
    "learning_rate": 15,
    "leave_one_out": 6,
    "pretrained_vs_scratch": 4,
    "regularizer_strength": 5,
    "transfer_matrix": 3,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_study_is_read_and_gives_its_arms(file):
    study = read_study(file)
    arms = arms_of(study)
    assert study.name == file.stem and study.question.endswith("?")
    assert len(arms) == ARMS[file.stem]
    assert sum(arm.reference is None for arm in arms) < len(arms)
    text = study.text
    assert text.startswith("# ") and f"finelab study run pkg://finelab.configs.studies/{file.name}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_all_of_them_are_known_here():
    assert {file.stem for file in FILES} == ARMS.keys()
