"""Why a cell has no result."""

import pytest

from finelab.studies.engines.engine import JobState
from finelab.studies.failure import failure_of, last_words, tail
from finelab.studies.study import Limits

from .made_up import a_record
from .running import a_cell


@pytest.mark.parametrize(
    ("state", "said", "kind", "says"),
    [
        (JobState("exited", -9), "", "infrastructure", "killed by SIGKILL, as the system does where memory runs out"),
        (JobState("exited", -11), "", "infrastructure", "killed by SIGSEGV."),
        (JobState("exited", 143), "finelab: stopped", "infrastructure", "stopped by SIGTERM"),
        (JobState("exited", 130), "", "infrastructure", "stopped by SIGINT"),
        (JobState("exited", 75), "", "infrastructure", "Another process had the cell"),
        (JobState("exited"), "", "infrastructure", "nobody saw how"),
        (JobState("lost", reason="its node is gone"), "", "infrastructure", "its node is gone"),
        (JobState("exited", 2), "x\nfinelab: model.base is missing.", "refused", "model.base is missing."),
        (JobState("exited", 1), "Traceback\n  ...\nValueError: so", "error", "ValueError: so"),
        (JobState("exited", 1), "", "error", "exit status 1 and said nothing"),
        (JobState("exited", 0), "", "error", "left no valid record"),
        (JobState("exited", 1), "OSError: [Errno 28] No space left on device", "disk", "No space left"),
    ],
)
def test_without_a_record_it_is_the_code_and_the_last_words(state, said, kind, says):
    failure = failure_of(None, state, said)
    assert failure.kind == kind and says in failure.message


@pytest.mark.parametrize("kind", ["nonfinite", "memory", "disk", "data", "error"])
def test_a_record_counts_before_code_and_words(kind):
    record = a_record(a_cell(1), {}, 0, status=f"failed: {kind}", error={"type": "X", "message": "why\n so"})
    failure = failure_of(record, JobState("exited", -9), "No space left on device", timeout=3.0)
    assert (failure.kind, failure.message) == (kind, "why so")


def test_a_timeout_and_a_result_of_another_cell():
    assert failure_of(None, JobState("exited", 143), "", timeout=90.0).kind == "timeout"
    finished = a_record(a_cell(1), {"nll": 1.0}, 8)
    assert "of another configuration" in failure_of(finished, JobState("exited", 0), "").message


def test_how_often_each_class_is_tried_again():
    limits = Limits(retries=2, memory_retries=1)
    states = {
        "infrastructure": JobState("exited", -9),
        "refused": JobState("exited", 2),
        "error": JobState("exited", 1),
    }
    left = {kind: failure_of(None, state, "").attempts_left(0, limits) for kind, state in states.items()}
    assert left == {"infrastructure": 2, "refused": 0, "error": 0}
    memory = a_record(a_cell(1), {}, 0, status="failed: memory", error={"type": "X", "message": "m"})
    assert failure_of(memory, JobState("exited", 1), "").attempts_left(0, limits) == 1
    assert failure_of(None, JobState("exited", -9), "").attempts_left(2, limits) == 0


def test_the_words_are_those_of_this_attempt(tmp_path):
    log = tmp_path / "log.txt"
    assert tail(log, 0) == ""
    log.write_text("finelab: an earlier one.\n")
    size = log.stat().st_size
    assert last_words(tail(log, size)) == ""
    with log.open("a") as file:
        file.write("x" * 50_000 + "\nfinelab: this one.\nstray\n")
    assert last_words(tail(log, size)) == "this one."
    log.write_text("made anew\n")
    assert tail(log, size) == ""
