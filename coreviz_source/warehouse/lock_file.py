"""A lock that is a file: it excludes other processes and other threads, and is removed with the lock."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_SOMEBODY = "another process"


class _RemovedLock(FileLock):
    """A file lock whose file is removed before the lock is released.

    Whoever waits may then lock a file that has no name any more. This is noticed, and does not count as locked.
    """

    def _acquire(self) -> None:
        super()._acquire()
        descriptor = self._context.lock_file_fd
        if descriptor is not None and not _is_file(descriptor, self.lock_file):
            super()._release()

    def _release(self) -> None:
        descriptor = self._context.lock_file_fd
        # Windows does not remove an open file
        with suppress(OSError):
            # a release that was interrupted is repeated, when another run may have made a file of its own
            if descriptor is not None and _is_file(descriptor, self.lock_file):
                os.unlink(self.lock_file)
        super()._release()


def _is_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


class LockFile:
    """The lock of a file or folder: `….lock` beside it, and `….owner` with the name of the run that has the lock.

    Args:
        path: The file or folder.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = _RemovedLock(f"{path}.lock", is_singleton=True)
        #: It is a second file, because Windows lets nobody read or write a file that is locked.
        self._owner = Path(f"{path}.owner")

    @property
    def is_locked(self) -> bool:
        """Whether this thread has the lock, through whatever object."""
        return self._lock.is_locked

    def attempt(self, resources: ExitStack) -> str | None:
        """Tries to take the lock until `resources` are closed; returns the owner's name if another run has it.

        Raises:
            OSError: The lock cannot be written.
        """
        try:
            resources.enter_context(self._lock.acquire(blocking=False))
        except Timeout:
            return self._name_of_owner()
        except FileNotFoundError:
            # it was removed at the same moment, unless there is no folder for it
            if not self._owner.parent.is_dir():
                raise
            return _SOMEBODY
        resources.callback(self._disown)
        self._owner.write_text(myself())
        return None

    def _disown(self) -> None:
        # a run inside this one has taken the lock once more
        if self._lock.lock_counter == 1:
            self._owner.unlink(missing_ok=True)

    def _name_of_owner(self) -> str:
        with suppress(FileNotFoundError):
            return self._owner.read_text() or _SOMEBODY
        return _SOMEBODY


def myself() -> str:
    """The name of this process, for those who wait for it."""
    return f"process {os.getpid()} on {socket.gethostname()}"
