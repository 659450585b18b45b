"""Messages to systemd from a service of `Type=notify`: that it is ready, what it does, and that it is alive.

Each message is one datagram to the socket that `NOTIFY_SOCKET` names; see sd_notify(3). Without that variable, nothing
is sent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

#: Seconds without a sign of life after which the watchdog is no longer kept from ending the process. A run may wait an
#: hour for its turn to load, and a request that the API does not respond to takes a quarter of an hour.
LONGEST_SILENCE = 4200.0


class Systemd:
    """The service manager that started this process; a context manager that watches it meanwhile."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # a name that begins with @ is in Linux' abstract namespace
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._is_ready = False
        self._alive = time.monotonic()
        self._over = threading.Event()

    def __enter__(self) -> Systemd:
        watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if self._address and watched and microseconds.isdecimal():
            period = int(microseconds) / 2e6
            threading.Thread(target=self._watch, args=(period,), daemon=True, name="coreviz-watchdog").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._send("STOPPING=1")

    def ready(self) -> None:
        """Reports that the service has started."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def status(self, text: str) -> None:
        """Sets the line that `systemctl status` shows."""
        self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """A sign of life: the process waits for the next cycle, or a cycle has come further."""
        self._alive = time.monotonic()

    def _watch(self, period: float) -> None:
        while not self._over.wait(period):
            if time.monotonic() - self._alive < LONGEST_SILENCE:
                self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # a service manager that does not listen is no reason to stop
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), self._address)
