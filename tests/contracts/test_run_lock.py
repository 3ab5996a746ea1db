"""A lock that dies with its holder, and says who holds it."""

import errno
import fcntl
import os
import signal
import sys
import threading
import time

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.run_lock import LOCK_FILE, RunLock, is_locked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork")


def child(work) -> int:
    """A process that does some work and then waits to be killed; comes back once the work is done."""
    done, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(says, b".")
            time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(done, 1) == b"."
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_holder_is_named_and_a_killed_one_leaves_it_free(tmp_path):
    pid = child(RunLock(tmp_path).acquire)
    assert is_locked(tmp_path)
    with pytest.raises(UserError, match=rf"is being written by another process \(process {pid}\)"):
        RunLock(tmp_path).acquire()
    end(pid)
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().split()[0] == str(os.getpid())
        with pytest.raises(UserError, match=f"process {os.getpid()}"):
            RunLock(tmp_path).acquire()
    assert not is_locked(tmp_path) and (tmp_path / LOCK_FILE).read_text() == ""


def test_a_worker_of_a_killed_process_is_waited_for(tmp_path):
    """A forked worker holds its parent's lock until it has noticed that the parent is gone."""
    (tmp_path / "workers").touch()

    def hold_with_a_worker():
        RunLock(tmp_path).acquire()
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        (tmp_path / "workers").write_text(str(worker))

    end(child(hold_with_a_worker))
    worker = int((tmp_path / "workers").read_text())
    with pytest.raises(UserError, match="it is gone, but a process that it started still runs"):
        RunLock(tmp_path, patience=0.3).acquire()
    killer = os.fork()
    if killer == 0:
        time.sleep(0.5)
        os.kill(worker, signal.SIGKILL)
        os._exit(0)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
    os.waitpid(killer, 0)


def test_a_worker_that_lives_on_does_not_keep_what_was_released(tmp_path):
    lock = RunLock(tmp_path)
    lock.acquire()
    worker = child(lambda: None)
    lock.release()
    assert not is_locked(tmp_path)
    end(worker)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="gone/.lock cannot be written"):
        RunLock(tmp_path / "gone").acquire()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, code):
    """A network mount without a lock service, and some file systems in user space."""

    def refuse(handle, kind):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = RunLock(tmp_path)
    with pytest.warns(UserWarning, match=r"\.lock could not be locked .* set run\.root"):
        lock.acquire()
    assert is_locked(tmp_path), "by what its file says"
    lock.release()
    assert not is_locked(tmp_path) and (tmp_path / LOCK_FILE).read_text() == ""


@pytest.mark.parametrize("says", ["", "1 another-host\n"], ids=["nobody", "a-former-holder-elsewhere"])
def test_a_look_at_the_very_moment_of_a_start_refuses_nobody(tmp_path, says):
    """``is_locked`` has the lock for microseconds; a child that starts then is no second writer."""
    (tmp_path / LOCK_FILE).write_text(says)
    handle = os.open(tmp_path / LOCK_FILE, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, [handle])
    timer.start()
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
    timer.join()
