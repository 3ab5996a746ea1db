"""Runs what is due of a study until nothing is: starts cells, judges them by what they left, tries again."""

import socket
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..contracts.record import Record
from .attempt import Attempt
from .books import Books
from .cell import Cell
from .cell_folder import LOG_FILE, is_held, record_mark, truth_of, write_cell
from .engines.engine import Engine, Job, JobState
from .event_log import Event, event
from .failure import SUSPENDED
from .full_disk import is_full
from .history import AGAIN, DONE, FAILED, RUNNING, START
from .judging import end_of, state_in, what_follows
from .ledger import journal_for
from .observer import Observer
from .outcome import Outcome
from .pace import Pace
from .stop_signals import StopSignals
from .study import Study
from .study_lock import study_lock

UNSEEN = JobState("exited")
"""The end of an attempt whose controller was gone."""


class WhatIsDue(Protocol):
    """Of a study, given what is finished and what has failed for good; see ``stages.Due``."""

    @property
    def cells(self) -> Sequence[Cell]: ...

    @property
    def planned(self) -> Sequence[Cell]: ...

    @property
    def complete(self) -> bool: ...


class Controller:
    """Runs a study. Everything that it knows it has from the disk, so that it may be killed at any time.

    Args:
        study: its folder, limits and trusted packages.
        due: finished records by cell id, and the ids of cells that have failed for good -> the cells that can be run
            now, and whether the study is complete.
        engine: where they run.
        observer: is told what happens.
        fail_fast: stop after the first cell that has failed for good.
        pace: how long is waited for what.
    """

    def __init__(
        self,
        study: Study,
        due: Callable[[Mapping[str, Record], Collection[str]], WhatIsDue],
        engine: Engine,
        observer: Observer | None = None,
        fail_fast: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.study, self.due, self.engine = study, due, engine
        self.observer, self.fail_fast, self.pace = observer or Observer(), fail_fast, pace or Pace()
        self._signals, self._host = StopSignals(), socket.gethostname()
        self._running: list[Attempt] = []
        self._held: dict[str, Cell] = {}
        self._not_before: dict[str, float] = {}
        self._looked = 0.0
        self._ran = 0
        self._closing, self._paused, self._presses = False, "", 0
        self._due: WhatIsDue | None = None
        self._books: Books

    def run(self) -> Outcome:
        """Until every cell that can be run is done or has failed, or somebody stops it.

        Raises:
            UserError: another controller runs the study, or the engine cannot be used.
        """
        self.study.folder.mkdir(parents=True, exist_ok=True)
        with study_lock(self.study.folder), self._signals:
            try:
                self._books = Books(self.study.folder, journal=journal_for(self.study.engine.name))
                try:
                    return self._work()
                finally:
                    self._books.close()
            except (OSError, sqlite3.Error) as error:
                if not is_full(error):
                    raise
                return Outcome(False, self._ran, (), self._signals.number, self._paused or self._why_full(str(error)))

    def _work(self) -> Outcome:
        self.engine.open()
        try:
            self._loop()
        except (OSError, sqlite3.Error) as error:
            if not is_full(error):
                raise
            self._paused = self._why_full(str(error))
            self.observer.say(self._paused)
            self._wind_down()
        finally:
            self.engine.close()
        return self._outcome()

    def _loop(self) -> None:
        self._begin()
        nap = self.pace.shortest
        while True:
            moved = self._collect() | self._look_at_held()
            self._obey()
            moved |= not self._closing and self._fill()
            self.observer.tick()
            if not self._running and (self._closing or not self._open()):
                self._books.note(event("stop", complete=self._is_complete(), signal=self._signals.number))
                return
            nap = self.pace.shortest if moved else min(self.pace.longest, nap * 1.5)
            time.sleep(nap)

    def _outcome(self) -> Outcome:
        found = [] if self._due is None else [self._books.entries.get(cell.id) for cell in self._due.planned]
        failed = tuple(entry for entry in found if entry is not None and entry.state == "failed")
        return Outcome(self._is_complete(), self._ran, failed, self._signals.number, self._paused)

    # ---- what is to be done

    def _begin(self) -> None:
        """Goes on from what a former controller has left, whichever way it ended."""
        self._books.note(event("run", engine=self.study.engine.name, slots=self.engine.slots))
        self._held = {cell.id: cell for cell in self._books.held}
        left = [cell for cell in self._books.cells.values() if self._is_stale(cell)]
        self._write([self._judged(cell, UNSEEN, 0.0) for cell in left])
        self._refresh()
        self.observer.begin(self._books.entries)

    def _is_stale(self, cell: Cell) -> bool:
        """Whether an attempt's end was seen by nobody; of one that is not in the log, its record may still tell."""
        if cell.id in self._held or cell.id in self._books.finished:
            return False
        last = self._books.history(cell.id).last
        return last == START or (not last and truth_of(self._books.place(cell), cell).state == "failed")

    def _refresh(self) -> None:
        failed = {name for name, history in self._books.histories.items() if history.last == FAILED}
        self._due = self.due(self._books.finished, failed - self._books.finished.keys())
        self._books.expect(self._due.cells)

    def _open(self) -> list[Cell]:
        """Cells that are due and neither done nor failed."""
        cells = {cell.id: cell for cell in self._due.cells} if self._due is not None else {}
        return [cell for cell in cells.values() if not self._is_settled(cell)]

    def _is_settled(self, cell: Cell) -> bool:
        return cell.id in self._books.finished or self._books.history(cell.id).last == FAILED

    def _is_complete(self) -> bool:
        return self._due is not None and self._due.complete

    def _fill(self) -> bool:
        now, taken = time.monotonic(), {attempt.cell.id for attempt in self._running} | self._held.keys()
        free = self.engine.slots - len(self._running)
        if free <= 0:
            return False
        ready = [cell for cell in self._open() if cell.id not in taken and self._not_before.get(cell.id, 0.0) <= now]
        chosen = [(cell, self._books.place(cell)) for cell in ready[:free]]
        started = []
        for cell, folder in chosen:
            write_cell(folder, cell)
            log = folder / LOG_FILE
            size = log.stat().st_size if log.exists() else 0
            facts = {"record": record_mark(folder), "state": state_in(folder), "log": size, "host": self._host}
            started.append(event(START, cell=cell.id, **facts))
        self._write(started)  # before it happens: an attempt is never forgotten
        for cell, folder in chosen:
            self._submit(cell, folder)
        return bool(chosen)

    def _submit(self, cell: Cell, folder: Path) -> None:
        try:
            handle = self.engine.submit(Job(folder, cell.folder_name, self.study.trusted))
        except OSError as error:  # too many processes or open files: it may pass, and others run
            if is_full(error):
                raise
            lost = JobState("lost", reason=f"Its process could not be started: {error}.")
            self._write([self._judged(cell, lost, 0.0, Attempt(cell, folder, None))])
        else:
            self._running.append(Attempt(cell, folder, handle))

    # ---- what has happened

    def _collect(self) -> bool:
        now, ended, elsewhere = time.monotonic(), [], []
        states = self.engine.poll([attempt.handle for attempt in self._running])
        for attempt, state in zip(self._running, states, strict=True):
            if state.phase == "running" and attempt.since is None:
                attempt.since = now
                if state.host != self._host:
                    elsewhere.append(event(RUNNING, cell=attempt.cell.id, host=state.host))
            if state.phase in ("exited", "lost"):
                ended.append((attempt, state))
        self._running = [attempt for attempt in self._running if all(attempt is not gone for gone, _ in ended)]
        self._write(elsewhere + [self._judged(gone.cell, state, gone.seconds(now), gone) for gone, state in ended])
        return bool(ended)

    def _look_at_held(self) -> bool:
        """A cell that a child of a dead controller works on, or somebody by hand, is waited for."""
        now = time.monotonic()
        if not self._held or now - self._looked < self.pace.held:
            return False
        self._looked = now
        free = [cell for cell in self._held.values() if not is_held(self._books.place(cell))]
        for cell in free:
            del self._held[cell.id]
        self._write([self._judged(cell, UNSEEN, 0.0) for cell in free])
        return bool(free)

    def _judged(self, cell: Cell, state: JobState, seconds: float, attempt: Attempt | None = None) -> Event | None:
        """An attempt's end as an event; None where some other process has the cell.

        Args:
            cell: that was attempted.
            state: how the engine saw it end.
            seconds: that it took.
            attempt: None of one that a former controller had begun.
        """
        history = self._books.history(cell.id)
        timeout = self.study.limits.timeout if attempt is not None and attempt.timed_out else None
        end = end_of(cell, self._books.place(cell), history, state, timeout)
        facts = {"cell": cell.id, "seconds": round(seconds, 3), "host": state.host, "code": state.code}
        if end.failure is None:
            if end.record is None:
                self._held[cell.id] = cell
                return None
            self._books.finished[cell.id] = end.record
            self._ran += 1
            return event(DONE, **facts)
        asked = attempt is None or (attempt.told is not None and not attempt.timed_out)
        kind = what_follows(end.failure, end.progress, history, self.study.limits, asked)
        if end.failure.kind == SUSPENDED:
            self._pause(end.failure.message)
        elif kind == AGAIN:
            failures = 1 if end.progress else history.failures[end.failure.kind] + 1
            self._not_before[cell.id] = time.monotonic() + self.pace.wait(failures)
        said = {"reason": end.failure.kind, "message": end.failure.message}
        return event(kind, **facts, **said, **({"progress": True} if kind == AGAIN and end.progress else {}))

    def _write(self, events: Sequence[Event | None]) -> None:
        whole = [happened for happened in events if happened is not None]
        for entry in self._books.write(whole):
            self.observer.changed(entry)
        kinds = {happened["event"] for happened in whole}
        if self._due is not None and kinds & {DONE, FAILED}:
            self._refresh()
        if self.fail_fast and FAILED in kinds and not self._closing:
            self.observer.say("A cell has failed and --fail-fast was given: the others are being stopped.")
            self._stop()

    # ---- the end

    def _obey(self) -> None:
        """Signals of the user, and what takes too long."""
        if self._signals.count > self._presses:
            if self._presses:
                self._kill()
            else:
                self.observer.say("Stopping: cells finish their step and save. Once more kills them.")
                self._stop()
            self._presses = self._signals.count
        now, limit = time.monotonic(), self.study.limits.timeout
        for attempt in self._running:
            if limit is not None and attempt.told is None and attempt.seconds(now) > limit:
                attempt.timed_out = True
                self._tell(attempt)
            if attempt.told is not None and not attempt.killed and now - attempt.told > self.pace.grace:
                attempt.killed = True
                self.engine.cancel(attempt.handle, kill=True)

    def _stop(self) -> None:
        self._closing = True
        for attempt in self._running:
            self._tell(attempt)

    def _tell(self, attempt: Attempt) -> None:
        if attempt.told is None:
            attempt.told = time.monotonic()
            self.engine.cancel(attempt.handle)

    def _kill(self) -> None:
        for attempt in self._running:
            attempt.killed = True
            self.engine.cancel(attempt.handle, kill=True)

    def _pause(self, reason: str) -> None:
        """What runs may end; nothing new is started."""
        if not self._paused:
            self._closing, self._paused = True, self._why_full(reason)
            self.observer.say(self._paused)

    def _why_full(self, reason: str) -> str:
        return (
            f"The study in {self.study.folder} pauses, since its disk is full: {reason.rstrip('.')}. Nothing is lost: "
            "what is done stays done, and what was begun goes on from its last training state. Free some space, then "
            "give the same command again."
        )

    def _wind_down(self) -> None:
        """Stops what runs without a word in the books, which cannot be written; the next start reads the truth."""
        self._stop()
        while self._running:
            self._obey()
            states = self.engine.poll([attempt.handle for attempt in self._running])
            running = zip(self._running, states, strict=True)
            self._running = [attempt for attempt, state in running if state.phase not in ("exited", "lost")]
            time.sleep(self.pace.longest)
