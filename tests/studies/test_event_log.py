"""An append-only file of events."""

import json
import os

import pytest

from finelab.studies.event_log import EventLog, event, seconds_of


def test_what_was_appended_is_read(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    assert list(log.read()) == []
    events = [event("start", cell="a"), event("done", cell="a", message="ü\n\u2028")]
    log.append(events[:1])
    log.append(events[1:])
    assert list(log.read()) == events
    assert 0 <= seconds_of(events[1]) - seconds_of(events[0]) < 10 and seconds_of({"event": "x"}) == 0


@pytest.mark.parametrize("kept", [1, 10, -1], ids=["one byte", "ten bytes", "all but the end"])
def test_a_torn_line_costs_itself_alone(kept, tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append([event("one")])
    whole = path.read_bytes()
    torn = json.dumps(event("two")).encode()[:kept]
    path.write_bytes(whole + torn)
    log.append([event("three")])
    log.append([event("four")])
    assert [found["event"] for found in log.read()] == ["one", "three", "four"]


def test_lines_that_are_no_events_are_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'[1]\n{"a": 1}\n\xff\xfe\n\n{"event": 3}\n{"event": "x"}\n')
    assert list(EventLog(path).read()) == [{"event": "x"}]


def test_a_short_write_is_finished_and_an_error_is_told(tmp_path, monkeypatch):
    log, write = EventLog(tmp_path / "events.jsonl"), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data[:7])))
    log.append([event("start", cell="a")])
    assert [found["cell"] for found in log.read()] == ["a"]

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        log.append([event("done", cell="a")])
