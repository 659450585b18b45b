"""The DuckDB file of a warehouse: where it is, and what can be known before it is opened, which creates it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt.destinations.impl.duckdb.configuration import NON_ATTACHABLE_LOCATIONS

from coreviz_source.errors import ConfigurationError, DestinationError


@dataclass(frozen=True)
class DatabaseFile:
    """A DuckDB file, and the dataset in it.

    Args:
        path: The file, with symbolic links followed: one file has one path.
        dataset_name: Name of its schema.
    """

    path: Path
    dataset_name: str

    @classmethod
    def of(cls, client: Any) -> DatabaseFile | None:
        """The file of a client of DuckDB, open or not; None if the database is in memory."""
        database = client.config.credentials.database
        if database in NON_ATTACHABLE_LOCATIONS:
            return None
        return cls(Path(os.path.realpath(database)), str(client.sql_client.dataset_name))

    @property
    def is_missing(self) -> bool:
        """Whether there is no such file.

        Raises:
            DestinationError: There is no folder for it either.
        """
        if not self.path.parent.is_dir():
            raise DestinationError(
                f"The folder of the DuckDB file, {self.path.parent}, does not exist.",
                remedy=(
                    f"Create the folder, or name another file in `destination.duckdb.credentials`. If the folder was "
                    f"moved or deleted, dlt still remembers it for a pipeline that first ran there: name the file in "
                    f'Python with dlt.destinations.duckdb("…/{self.path.name}").'
                ),
            )
        return not self.path.exists()

    def check(self) -> None:
        """Checks what DuckDB would refuse, or what would fail after the extraction.

        Raises:
            ConfigurationError: The file and the dataset have the same name.
            DestinationError: There is no folder for the file.
        """
        if self.is_missing:
            check_names(self.path.name.partition(".")[0], self.dataset_name)


def check_names(catalog: str, dataset_name: str) -> None:
    """Checks that a DuckDB file and the schema in it have different names, which DuckDB compares without case.

    Raises:
        ConfigurationError: Their names are equal.
    """
    if catalog.lower() == dataset_name.lower():
        raise ConfigurationError(
            f"The DuckDB file and the schema in it are both named {catalog}, which DuckDB finds ambiguous.",
            remedy=(
                "Give one of them another name: `pipeline_name` (--pipeline-name) names the file, `dataset_name` "
                "(--dataset-name) the schema."
            ),
        )


def for_reading(credentials: Any) -> Any:
    """Credentials that open the same file with the same settings, to read only.

    A database in memory, and a connection that the caller gave to dlt, stay as they are: nothing else reaches them.
    """
    if credentials.database in NON_ATTACHABLE_LOCATIONS or credentials.external_conn() is not None:
        return credentials
    reading = credentials.copy()
    reading.read_only = True
    # connections of its own: a copy has none
    reading.on_resolved()
    return reading
