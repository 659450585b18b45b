"""DuckDB's extensions: from packages of this environment, or else from DuckDB's own store.

DuckDB downloads an extension when it is first used. Where its store cannot be reached, the packages
`duckdb-extension-…` bring the same files, each for exactly one version of DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import duckdb

from coreviz_source.errors import DestinationError
from coreviz_source.extras import install_command


@cache
def loadable(extension: str) -> str:
    """What the statement `LOAD` takes for an extension. It is known to load.

    Args:
        extension: DuckDB's name of it, such as `ducklake`.

    Raises:
        DestinationError: The extension is neither installed nor can it be downloaded.
    """
    file = _packaged(extension)
    if file is not None:
        return f"'{file}'".replace("\\", "/")
    try:
        with duckdb.connect(":memory:") as database:
            database.execute(f"INSTALL {extension}; LOAD {extension}")
    except duckdb.Error as error:
        raise DestinationError(
            f"DuckDB's extension {extension} is missing: {str(error).splitlines()[0].rstrip('.')}.",
            remedy=(
                f"Run {install_command('ducklake')}, which installs it for one version of DuckDB (this is "
                f"{duckdb.__version__}). Or run INSTALL {extension} in DuckDB once, with access to "
                "extensions.duckdb.org. Nothing was requested yet."
            ),
        ) from None
    return extension


def are_packaged(extensions: Sequence[str]) -> bool:
    """Whether all of some extensions, as `LOAD` takes them, come from packages of this environment."""
    return all(extension.startswith("'") for extension in extensions)


def _packaged(extension: str) -> Path | None:
    """The file of an extension in a package of this environment, for this version of DuckDB."""
    found = find_spec(f"duckdb_extension_{extension}")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{extension}.duckdb_extension"
    return file if file.is_file() else None
