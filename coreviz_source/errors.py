"""What can go wrong, what to do about it, and which exit code says so.

Every error carries the same four things: what happened, where (dataset, endpoint, offset, status), what the
server said, and the remedy. The API key is never part of any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

_Kind = TypeVar("_Kind")

EXIT_OK = 0
#: From worst to mildest: the exit code of a run with several failures is the first of these that occurred.
SEVERITY = (1, 7, 3, 2, 5, 4, 6)


class CorevizError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, in one sentence. Defaults to the first line of the class docstring.
        remedy: What to do about it. Defaults to the class' own remedy.
        context: Where it happened: `dataset`, `endpoint`, `offset`, `status`, `server_message`, `table`, `id`, …;
            empty values are left out.
    """

    exit_code: ClassVar[int] = 1
    remedy: str = "Please report this with the full output; the key is never part of it."

    def __init__(self, message: str | None = None, *, remedy: str | None = None, **context: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        if remedy is not None:
            self.remedy = remedy
        self.context = {name: value for name, value in context.items() if value is not None and value != ""}
        super().__init__(self.message)

    def __str__(self) -> str:
        where = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in self.context.items())
        return f"{self.message}{f' [{where}]' if where else ''} {self.remedy}"


class ConfigurationError(CorevizError):
    """A setting is missing or wrong."""

    exit_code = 2
    remedy = "See the settings in the README; nothing was requested yet."


class BadRequestError(CorevizError):
    """The API refused the request's parameters."""

    exit_code = 2
    remedy = "Check the dataset id's form and `page_size`; the server's message says which parameter it refuses."


class AuthenticationError(CorevizError):
    """The API did not accept the key."""

    exit_code = 3
    remedy = (
        "Set a valid key as `sources.coreviz.api_key` in .dlt/secrets.toml or as COREVIZ_API_KEY; "
        "make one in CoreViz Studio under Settings, API keys."
    )


class DatasetNotFoundError(CorevizError):
    """The dataset does not exist, or this key cannot see it."""

    exit_code = 4
    remedy = "Check the id in `dataset_ids` (in Studio it is part of the dataset's address). Nothing was deleted."


class ApiUnavailableError(CorevizError):
    """The API stayed unavailable."""

    exit_code = 5
    remedy = "Nothing was deleted; the next run starts where this one stopped. If it persists, ask CoreViz."


class SafetyError(CorevizError):
    """Refused to delete on evidence that is not good enough."""

    exit_code = 6
    remedy = "Nothing was changed."


class DestinationError(CorevizError):
    """The warehouse could not be read or written."""

    exit_code = 7
    remedy = "Check the destination's credentials in .dlt/secrets.toml and its permissions."

    def __init__(self, message: str | None = None, *, remedy: str | None = None, **context: Any) -> None:
        if remedy is None and "destination" in context:
            setting = f"destination.{context['destination']}.credentials"
            remedy = f"Check `{setting}` in .dlt/secrets.toml, what they permit, and the space that is left."
        super().__init__(message, remedy=remedy, **context)


class BusyError(DestinationError):
    """Another run is using the same warehouse."""

    remedy = "Wait until it is done, or stop it; then run again."


class OutOfMemoryError(DestinationError):
    """There was too little memory."""

    remedy = (
        "Nothing is lost: run again with more memory, or hold less at once, by a smaller `page_size`, "
        "`parallel_requests = 1`, or a lower `memory_limit` of DuckDB."
    )


def worst_exit_code(codes: Iterable[int]) -> int:
    """The exit code that stands for several: the most severe one, 0 when there is none."""
    found = set(codes) - {EXIT_OK}
    return next((code for code in SEVERITY if code in found), max(found, default=EXIT_OK))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "exception", None) or current.__cause__ or current.__context__


def find_kind(error: BaseException, kind: type[_Kind]) -> _Kind | None:
    """The first error of a kind inside an exception that was wrapped, perhaps several times."""
    return next((e for e in _chain(error) if isinstance(e, kind)), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, arrow's, or DuckDB's, which dlt wraps, so that only its words tell."""
    return any(isinstance(e, MemoryError) or str(e).startswith("Out of Memory Error") for e in _chain(error))


def find(error: BaseException) -> CorevizError | None:
    """The error of ours inside an exception that dlt wrapped, if there is one."""
    return find_kind(error, CorevizError)
