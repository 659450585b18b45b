"""The cost of a run before it does anything: Python, and the modules that `ours.py` imports."""

import dlt
import dlt._workspace._plugins
import dlt.destinations.impl.duckdb.duck  # noqa: F401
import pendulum  # noqa: F401
import pyarrow.parquet  # noqa: F401

from coreviz_source import sync  # noqa: F401
