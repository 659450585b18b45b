"""The file of a warehouse: where it is, and what can be known before it is opened, which creates it.

It is a DuckDB file, or the catalog of a DuckLake.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt.destinations.impl.duckdb.configuration import NON_ATTACHABLE_LOCATIONS

from coreviz_source.errors import ConfigurationError, DestinationError
from coreviz_source.warehouse.destination import Destination


def database_of(credentials: Any) -> str | None:
    """The DuckDB file of credentials; None if the database is in memory."""
    database: str = credentials.database
    return None if database in NON_ATTACHABLE_LOCATIONS else database


@dataclass(frozen=True)
class DatabaseFile:
    """The file of a warehouse, and the dataset in it.

    Args:
        path: The file, with symbolic links followed: one file has one path.
        catalog: The name by which statements know it.
        dataset_name: Name of its schema.
        destination: The kind of warehouse.
    """

    path: Path
    catalog: str
    dataset_name: str
    destination: Destination

    @classmethod
    def of(cls, destination: Destination, client: Any) -> DatabaseFile | None:
        """The file of a client, open or not; None if its warehouse is no file."""
        credentials = client.config.credentials
        file = destination.file(credentials)
        if file is None:
            return None
        path = Path(os.path.realpath(file))
        catalog = credentials.ducklake_name if destination.is_lake else path.name.partition(".")[0]
        return cls(path, catalog, str(client.sql_client.dataset_name), destination)

    def __str__(self) -> str:
        return f"{self.destination.file_kind} {self.path}"

    @property
    def is_missing(self) -> bool:
        """Whether there is no such file.

        Raises:
            DestinationError: There is no folder for it either.
        """
        if not self.path.parent.is_dir():
            name, kind = self.destination.name, self.destination.file_kind
            raise DestinationError(
                f"The folder of the {kind}, {self.path.parent}, does not exist.",
                remedy=(
                    f"Create the folder, or name another file in `destination.{name}.credentials`. If the folder was "
                    "moved or deleted, dlt still remembers it for a pipeline that first ran there: name the file in "
                    f"Python with dlt.destinations.{name}(…)."
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
            check_names(self.catalog, self.dataset_name)


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
