"""Documents that are made from the declarations of the settings, and compared with them by a test.

`python -m tests.settings` writes them: the table in `docs/settings.md`, `.dlt/config.toml`, and the arguments in the
docstring of `coreviz()`.
"""

from __future__ import annotations

import json
import re
import textwrap

from coreviz_source.settings import SETTINGS, SYNC, WAREHOUSE, Setting
from tests.docs import ROOT

PAGE = ROOT / "docs" / "settings.md"
CONFIG, SOURCE = ROOT / ".dlt" / "config.toml", ROOT / "coreviz_source" / "source.py"

TABLE = re.compile(r"\| setting \| default \| meaning \|\n(?:\|.*\n)+")
ARGUMENTS = re.compile(r"    Args:\n.*?(?=\n    Returns:\n)", re.DOTALL)

HEAD = """\
# Settings of the CoreViz source. All have defaults. Each is also an argument of coreviz() and sync(), an option of
# `coreviz-source sync`, and an environment variable: SOURCES__COREVIZ__LOOKBACK=14d
# For one pipeline only, name it first: [nightly.sources.coreviz], or NIGHTLY__SOURCES__COREVIZ__LOOKBACK=14d

[sources.coreviz]
"""
TAIL = """\
[runtime]
log_level = "WARNING"
# dlt's own usage statistics
dlthub_telemetry = false

[load]
# loaded packages are not kept on disk, which they would fill
delete_completed_jobs = true
# staged rows are not kept in the warehouse
truncate_staging_dataset = true
"""


def in_toml(value: object) -> str:
    """A value as TOML, which is JSON for strings, numbers, booleans and lists."""
    return json.dumps(value)


def default_of(setting: Setting) -> str:
    """The default, or what applies without one, in Markdown."""
    if setting.default is None:
        return setting.otherwise
    return f"`{setting.default if isinstance(setting.default, str) else in_toml(setting.default)}`"


def settings_table() -> str:
    """The table of settings in docs/settings.md."""
    rows = "".join(f"| `{s.name}` | {default_of(s)} | {s.meaning} |\n" for s in (*SETTINGS, *SYNC, *WAREHOUSE))
    return f"| setting | default | meaning |\n|---|---|---|\n{rows}"


def config() -> str:
    """The file .dlt/config.toml."""
    blocks = []
    for setting in (*SETTINGS, *WAREHOUSE):
        if setting.secret:
            continue
        meaning = textwrap.fill(
            setting.meaning.replace("`", ""), 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        value = setting.example if setting.default is None else setting.default
        blocks.append(f"{meaning}\n# {setting.name} = {in_toml(value)}\n\n")
    return HEAD + "".join(blocks) + TAIL


def docstring_arguments() -> str:
    """The section `Args:` in the docstring of `coreviz()`."""
    lines = ["    Args:"]
    for setting in SETTINGS:
        default = setting.otherwise if setting.default is None else f"`{setting.default!r}`".replace("'", '"')
        lines += textwrap.wrap(
            f"{setting.name}: {setting.meaning} Default: {default}.",
            120,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: settings_table(), PAGE.read_text(), count=1))
    CONFIG.write_text(config())
    SOURCE.write_text(ARGUMENTS.sub(lambda _: docstring_arguments(), SOURCE.read_text(), count=1))
