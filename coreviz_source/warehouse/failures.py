"""Why a warehouse could not be used, and what to do about it, by class of the error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.common.configuration.exceptions import ConfigFieldMissingException

from coreviz_source.errors import BusyError, DestinationError, OutOfMemoryError, find_kind, is_out_of_memory

#: DuckDB's error when another process has the file open.
HOLDER = re.compile(r'lock on file "(?P<file>.*?)": .*? held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)')


def connection_error(error: BaseException, doing: str, pipeline: dlt.Pipeline) -> DestinationError:
    """The error of a warehouse that could not be opened, read or prepared.

    It is told in dlt's words, but for credentials that are missing and a file that another process has open: there
    dlt's words are many, and do not say what to do.
    """
    destination = pipeline.destination.destination_name
    where = {"destination": destination, "schema": pipeline.dataset_name}
    if is_out_of_memory(error):
        return OutOfMemoryError(f"There was too little memory when the warehouse was {doing}.", **where)
    holder = HOLDER.search(str(error))
    if holder is not None:
        return BusyError(f"The DuckDB file {holder['file']} is open in process {holder['pid']}.", **where)
    missing = find_kind(error, ConfigFieldMissingException)
    if missing is not None:
        return DestinationError(
            f"Credentials for {destination} are missing: {', '.join(dict.fromkeys(_fields(missing.traces)))}.",
            remedy=(
                f"Put them under [destination.{destination}.credentials] in .dlt/secrets.toml, as its example shows, "
                f"or into variables such as DESTINATION__{destination.upper()}__CREDENTIALS."
            ),
            **where,
        )
    return DestinationError(f"The warehouse could not be {doing}: {type(error).__name__}: {error}", **where)


def _fields(traces: Any) -> Iterator[str]:
    """The names of the fields that dlt looked for in vain, those inside of others instead of these."""
    for name, found in traces.items():
        inner = [trace.traces for trace in found if hasattr(trace, "traces")]
        yield from (field for each in inner for field in _fields(each)) if inner else (name,)
