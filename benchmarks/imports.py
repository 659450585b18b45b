"""What a run costs before it does anything: Python, and the modules that `ours.py` ends up with."""

import dlt
import dlt._workspace._plugins
import dlt.destinations.impl.duckdb.duck  # noqa: F401
import pendulum  # noqa: F401
import pyarrow.parquet  # noqa: F401

from coreviz_source import sync  # noqa: F401
