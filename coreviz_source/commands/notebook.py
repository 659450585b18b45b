"""A notebook on a warehouse: a file to extend, opened in marimo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dlt

from coreviz_source.errors import ConfigurationError, DestinationError
from coreviz_source.extras import missing_extra
from coreviz_source.library import Library, open_library
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.file import DatabaseFile

#: What a new notebook is made of.
TEMPLATE = Path(__file__).parent.parent / "notebooks" / "library.py.txt"
#: The call in the template that opens the library.
_CALL = "cv.open_library()"
#: The views that the template reads.
_VIEWS = {"caption_search", "tag_usage"}
#: Modules that the notebook imports.
_NEEDED = ("marimo", "altair")
#: marimo asks nobody outside for a newer release, and offers no ways to publish a notebook.
_PRIVATE = {"MARIMO_SKIP_UPDATE_CHECK": "1", "MARIMO_RESTRICT_SHARING": "true"}
#: Runs the cells when the page is opened. Without it marimo waits for a click, because a file may come from anywhere.
_RUN_AT_ONCE = {"_MARIMO_CONFIG_OVERLOAD_RUNTIME_AUTO_INSTANTIATE": "true"}


def write_notebook(pipeline: dlt.Pipeline, file: Path) -> bool:
    """Writes a notebook on the warehouse of a pipeline, unless there is a notebook already.

    Args:
        pipeline: The pipeline whose tables the notebook reads.
        file: The notebook.

    Returns:
        Whether the file is as this function writes it; an existing one may have been edited.

    Raises:
        ConfigurationError: The file is something else than a notebook, or cannot be written.
        DestinationError: The warehouse cannot be read, or has no tables yet.
    """
    if file.suffix != ".py":
        raise ConfigurationError(f"{file} is not the name of a notebook.", remedy="marimo's notebooks end in .py.")
    text = TEMPLATE.read_text(encoding="utf-8").replace(_CALL, _call_for(pipeline))
    try:
        if not file.exists():
            if missing := _VIEWS - set(open_library(pipeline).tables):
                raise DestinationError(
                    f"The notebook reads views that do not exist: {', '.join(sorted(missing))}.",
                    remedy="`coreviz-source sync` creates them, and so does create_views(pipeline).",
                )
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
            return True
        existing = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"The notebook {file} cannot be read or written: {error}", remedy="Name another file with --output."
        ) from error
    if "marimo.App(" not in existing:
        raise ConfigurationError(
            f"{file} exists, and is not a notebook of marimo.", remedy="Name another file with --output."
        )
    return existing == text


def open_notebook(
    pipeline: dlt.Pipeline, file: Path, *, port: int | None = None, browser: bool = True, demo: bool = False
) -> int:
    """Opens a notebook on the warehouse of a pipeline in marimo, until it is stopped.

    Args:
        pipeline: The pipeline whose tables a new notebook reads.
        file: The notebook. It is written if it does not exist.
        port: The port on 127.0.0.1. Default: the next free one from marimo's own on.
        browser: Whether to open the page in the user's browser.
        demo: Whether the warehouse is that of the demo, whose pictures the local Studio draws.

    Returns:
        The exit code of marimo.

    Raises:
        ConfigurationError: The extra `notebook` is not installed, or the file cannot be used.
        DestinationError: The warehouse cannot be read, or has no tables yet.
    """
    if not all(map(find_spec, _NEEDED)):
        raise missing_extra("The notebook", "notebook")
    is_new = write_notebook(pipeline, file)
    command = [sys.executable, "-m", "marimo", "--yes", "edit", str(file), "--host", "127.0.0.1"]
    command += ["--no-sandbox", "--skip-update-check"]
    command += ["--port", str(port)] if port else []
    command += [] if browser else ["--headless"]
    environment = {**os.environ, **_PRIVATE, **(_RUN_AT_ONCE if is_new else {})}
    with _pictures(open_library(pipeline)) if demo else nullcontext():
        process = subprocess.Popen(command, env=environment)
        with _signals_left_to(process):
            code = process.wait()
    return 128 - code if code < 0 else code


@contextmanager
def _signals_left_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leaves it to a process what Ctrl-C and SIGTERM mean. A terminal sends Ctrl-C to both."""
    handlers: Any = {
        signal.SIGINT: signal.SIG_IGN,
        signal.SIGTERM: lambda *_: process.terminate(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _pictures(library: Library) -> Iterator[None]:
    """Serves the pictures of the demo under the addresses in its tables."""
    from coreviz_source.local_studio import Library as Generated
    from coreviz_source.local_studio import Studio

    address = library("SELECT MIN(blob) AS blob FROM media").fetchscalar()
    (_, media), *_ = library.row_counts(table_names=["media"]).fetchall()
    try:
        studio = Studio(Generated.generate(media), port=urlsplit(address or "").port or 0)
    except OSError:
        message = "Another program uses the port of the demo's pictures. To see them, run `coreviz-source demo` again."
        print(message, file=sys.stderr)
        yield
        return
    with studio:
        yield


def _call_for(pipeline: dlt.Pipeline) -> str:
    """The call of `open_library()` that reads the warehouse of a pipeline."""
    default = resolve_pipeline(reading=True)
    file = _file_of(pipeline)
    if file is not None:
        if (file, pipeline.dataset_name) == (_file_of(default), default.dataset_name):
            return _CALL
        path = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        return f"cv.open_library({_quoted(str(path))}, dataset_name={_quoted(pipeline.dataset_name)})"
    usual = _arguments(default)
    given = [f"{name}={_quoted(value)}" for name, value in _arguments(pipeline).items() if value != usual[name]]
    return f"cv.open_library({', '.join(given)})"


def _arguments(pipeline: dlt.Pipeline) -> dict[str, str]:
    """The arguments of `open_library()` that name what a pipeline of the command line loads into."""
    return {
        "destination": destination_of(pipeline).name,
        "dataset_name": pipeline.dataset_name,
        "pipeline_name": pipeline.pipeline_name,
    }


def _file_of(pipeline: dlt.Pipeline) -> Path | None:
    """The DuckDB file of a pipeline; None if its warehouse is something else."""
    destination = destination_of(pipeline)
    if destination.is_lake or not destination.is_file:
        return None
    found = DatabaseFile.of(destination, pipeline.destination_client())
    return found.path if found else None


def _quoted(text: str) -> str:
    """A string as Python's formatters write it."""
    return json.dumps(text, ensure_ascii=False)
