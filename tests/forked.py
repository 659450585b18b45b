"""Commands in processes of their own whose imports were paid once: each is forked from a process that has made them.

`programs()` is a folder to put first in PATH. Its `coreviz-source` and `python` start in 20 ms, hand their arguments,
environment, directory and files to that process, pass on signals, and end with the exit code of the fork. Where an
environment variable would have changed Python itself or an import, they run the real program.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PROGRAMS = ("coreviz-source", "python")

#: Without `site`, without `json`: what it imports is what a test waits for.
CLIENT = """#!{python} -SI
import os, signal, socket, sys
environment = os.environb
other = [n for n, v in environment.items() if n.startswith((b"PYTHON", b"TZ")) and ({kept!r}).get(n) != v]
known = {program!r} == "coreviz-source" or sys.argv[1:2] == ["-c"] or sys.argv[1:2] and sys.argv[1][0] != "-"
if other or not known:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
arguments = [os.fsencode(word) for word in ({program!r}, *sys.argv[1:])]
parts = [os.getcwdb(), b"%d" % len(arguments), *arguments, *(n + b"=" + v for n, v in environment.items())]
data = b"\\0".join(parts)
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [len(data).to_bytes(8, "big")], [0, 1, 2])
server.sendall(data)
process = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
code = int.from_bytes(server.recv(8), "big", signed=True)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


SERVER = "import sys; sys.path.insert(1, sys.argv.pop(1)); from tests import forked; forked.serve()"


@functools.cache
def programs() -> Path:
    """The folder of the programs; starts the process that forks them."""
    folder = Path(tempfile.mkdtemp(prefix="coreviz-forked-"))
    address = str(folder / "socket")
    kept = {n: v for n, v in os.environb.items() if n.startswith((b"PYTHON", b"TZ"))}
    for name in PROGRAMS:
        script = folder / name
        given = {"python": sys.executable, "program": name, "real": str(BIN / name), "address": address, "kept": kept}
        script.write_text(CLIENT.format(**given))
        script.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ROOT), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if "COREVIZ" not in name},
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.read(1) == b"."

    def end() -> None:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return folder


def command() -> str:
    """The path of `coreviz-source`."""
    return str(programs() / "coreviz-source")


def python() -> str:
    """The path of `python`."""
    return str(programs() / "python")


def path() -> str:
    """PATH with the programs first, and those of the virtual environment behind them."""
    return f"{programs()}:{BIN}:{os.environ['PATH']}"


def serve() -> None:
    """Waits for programs, and forks once for each."""
    import duckdb  # noqa: F401
    import psycopg2  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import streamlit  # noqa: F401

    import coreviz_source.cli
    import coreviz_source.commands.demo
    import coreviz_source.local_studio
    import coreviz_source.source
    import coreviz_source.synchronize  # noqa: F401
    from tests import faster

    faster.remember()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[1])
    listening.listen()
    os.write(1, b".")
    while 0 not in (ready := select.select([listening, 0], [], [])[0]):
        _reap(os.WNOHANG)
        if ready:
            connection, _ = listening.accept()
            if not os.fork():
                listening.close()
                _become(*_attend(connection))
            connection.close()
    _reap(0)
    os._exit(0)


def _reap(how: int) -> None:
    """Takes leave of forks that have ended; their CPU seconds count as this process's."""
    try:
        while os.waitpid(-1, how)[0]:
            pass
    except ChildProcessError:
        pass


def _attend(connection: socket.socket) -> tuple[bytes, list[str], dict[bytes, bytes]]:
    """Forks once more, and waits for the fork; in the fork it returns the directory, arguments and environment."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    size, data = int.from_bytes(head, "big"), b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    if process := os.fork():
        connection.sendall(process.to_bytes(8, "big"))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(code.to_bytes(8, "big", signed=True))
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    directory, count, *parts = data.split(b"\0")
    arguments = [os.fsdecode(word) for word in parts[: int(count)]]
    return directory, arguments, dict(part.split(b"=", 1) for part in parts[int(count) :])


def _become(directory: bytes, arguments: list[str], environment: dict[bytes, bytes]) -> NoReturn:
    """Runs a program as Python would have begun with it."""
    os.chdir(directory)
    os.environb.clear()
    os.environb.update(environment)
    random.seed()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        lines = number == 2 or os.isatty(number)
        errors = "backslashreplace" if number == 2 else None
        stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", False)), line_buffering=lines, errors=errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.path.remove(str(ROOT))
    program, *words = arguments
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    if program == "coreviz-source":
        sys.argv, sys.path[0] = [str(BIN / program), *words], str(BIN)
        code = "import sys; from coreviz_source.cli import main; sys.exit(main())"
        name = program
    elif words[0] == "-c":
        sys.argv, sys.path[0], code, name = ["-c", *words[2:]], "", words[1], "<string>"
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).parent.resolve())
        code, name = Path(words[0]).read_text(), words[0]
        main.__dict__["__file__"] = words[0]
    _end(lambda: exec(compile(code, name, "exec"), main.__dict__))


def _end(program: Callable[[], None]) -> NoReturn:
    """Runs a program, and ends as Python does except for what libraries do last: their threads were not forked."""
    code: Any = 0
    try:
        program()
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)
