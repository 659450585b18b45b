"""The errors of this package, the remedy for each, and the exit codes.

Every error has four parts: what happened, where (dataset, endpoint, offset, status), the server's message, and the
remedy. No secret is part of an error: neither the API key nor a password of the destination.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

_Kind = TypeVar("_Kind")

EXIT_OK = 0
#: The meaning of each exit code of a failure, from worst to mildest. A run with several failures has the first of these
#: codes that occurred.
EXIT_CODES = {
    1: "unexpected",
    7: "destination",
    3: "key or access",
    2: "settings",
    5: "API unavailable",
    4: "dataset not found",
    6: "safety",
    8: "stale",
}
#: Exit code of `status --max-age` if a dataset is staler than that.
STALE = 8


class CorevizError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, in one sentence. Default: the first line of the class docstring.
        remedy: What to do about it. Default: the remedy of the class.
        context: Where it happened: `dataset`, `endpoint`, `offset`, `status`, `server_message`, `table`, `id`, …;
            empty values are left out.
    """

    exit_code: ClassVar[int] = 1
    remedy: str = "Please report this with the full output; it contains no key and no password."

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
    remedy = "See `coreviz-source sync --help`. Nothing was requested yet."


class BadRequestError(CorevizError):
    """The API refused the request's parameters."""

    exit_code = 2
    remedy = "Check the form of the dataset id and `page_size`; the server's message names the parameter."


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
    """Deletions were refused, because the evidence for them is not sufficient."""

    exit_code = 6
    remedy = "Nothing was removed."


class TooManyDeletesError(SafetyError):
    """More is missing from the API than `max_deletes` allows to remove.

    Args:
        missing: How many media items, or folders, are missing.
        message: What happened.
        context: Where it happened.
    """

    remedy = (
        "Nothing was removed. If they were really deleted, run once with a larger `max_deletes` (1 removes any number)."
    )

    def __init__(self, missing: int, message: str, **context: Any) -> None:
        self.missing = missing
        super().__init__(message, **context)


class DestinationError(CorevizError):
    """The warehouse could not be read or written."""

    exit_code = 7
    remedy = "Check the destination's credentials in .dlt/secrets.toml and its permissions."

    def __init__(self, message: str | None = None, *, remedy: str | None = None, **context: Any) -> None:
        if remedy is None and "destination" in context and type(self).remedy == DestinationError.remedy:
            setting = f"destination.{context['destination']}.credentials"
            remedy = f"Check `{setting}` in .dlt/secrets.toml, what they permit, and the space that is left."
        super().__init__(message, remedy=remedy, **context)


class BusyError(DestinationError):
    """Another run is using the same warehouse."""

    remedy = "Wait until it is done, or stop it; then run again."


class OutOfMemoryError(DestinationError):
    """There was too little memory."""

    remedy = (
        "Nothing is lost: run again with more memory, or use less at once with a smaller `page_size`, "
        "`parallel_requests = 1`, or a lower `memory_limit` of DuckDB."
    )


def worst_exit_code(codes: Iterable[int]) -> int:
    """The most severe of several exit codes; 0 if there is none."""
    found = set(codes) - {EXIT_OK}
    return next((code for code in EXIT_CODES if code in found), max(found, default=EXIT_OK))


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was caused by, or that dlt wrapped in it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "exception", None) or current.__cause__ or current.__context__


def find_kind(error: BaseException, kind: type[_Kind]) -> _Kind | None:
    """The first error of a class inside an exception that was wrapped, perhaps several times."""
    return next((e for e in chain(error) if isinstance(e, kind)), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: that of Python, arrow or DuckDB, whose error dlt wraps, so that only its words remain."""
    return any(isinstance(e, MemoryError) or str(e).startswith("Out of Memory Error") for e in chain(error))


def find(error: BaseException) -> CorevizError | None:
    """The error of this package inside an exception that dlt wrapped; None if there is none."""
    return find_kind(error, CorevizError)
