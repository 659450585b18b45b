"""`coreviz-source dashboard`: a page on the warehouse with pictures, captions and the state of loading.

It reads and never writes, and answers on loopback only. Needs the extra `dashboard`.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import dlt

from coreviz_source.dashboard.warehouse import Warehouse

APP = Path(__file__).with_name("app.py")
#: Streamlit's settings; given on its command line, they win over any config file and variable of the user.
OPTIONS = {
    "server.address": "127.0.0.1",
    "browser.serverAddress": "127.0.0.1",
    # the Host header too: no other site's name may stand for this page
    "server.allowedHosts": ["localhost", "127.0.0.1"],
    "server.enableCORS": True,
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "server.enableStaticServing": False,
    "browser.gatherUsageStats": False,
    # Streamlit advertises its skills for coding agents with the welcome, on machines that have an agent: a card over
    # the search field, and a line in the terminal
    "logger.hideWelcomeMessage": True,
    # its servers' start is no news beside the line with the address
    "logger.level": "warning",
    "client.toolbarMode": "minimal",
    "client.showErrorLinks": "false",
    "theme.light.primaryColor": "#1f6f8b",
    "theme.light.backgroundColor": "#fcfcfb",
    "theme.light.secondaryBackgroundColor": "#f3f3f0",
    "theme.light.textColor": "#1d2327",
    "theme.light.borderColor": "#e2e2dd",
    "theme.light.chartCategoricalColors": json.dumps(
        ["#2b7a9b", "#c9803a", "#5f9061", "#9a5b8d", "#8a8f3c", "#b5524d", "#6b7a86"]
    ),
    "theme.dark.primaryColor": "#74b9d1",
    "theme.dark.backgroundColor": "#14171a",
    "theme.dark.secondaryBackgroundColor": "#1d2125",
    "theme.dark.textColor": "#e4e6e7",
    "theme.dark.borderColor": "#31373c",
    "theme.dark.chartCategoricalColors": json.dumps(
        ["#6fb3cd", "#dd9c5b", "#8bbb8b", "#c48fb8", "#b9bd6a", "#d98680", "#9aa8b3"]
    ),
}
_served: list[Warehouse] = []


def served() -> Warehouse:
    """The warehouse that this process shows."""
    return _served[-1]


def serve(pipeline: dlt.Pipeline, *, port: int | None = None, browser: bool = True, demo: bool = False) -> None:
    """Shows a pipeline's warehouse until it is stopped.

    Args:
        pipeline: Whose destination and dataset are shown; nothing is written to either.
        port: On 127.0.0.1. Default: 8501, or the next that is free.
        browser: Whether to open the page in the user's browser.
        demo: Whether it is the demo's warehouse, whose pictures the local Studio draws.

    Raises:
        ImportError: Streamlit is not installed: the extra `dashboard` is missing.
        CorevizError: The demo's warehouse is not there.
    """
    from streamlit import net_util
    from streamlit.web import cli

    from coreviz_source.dashboard.demo import pictures

    # else a request with a foreign Origin would make Streamlit ask a server outside for this machine's address
    net_util.get_external_ip = lambda: None
    warehouse = Warehouse(pipeline)
    port = port or _free_port()
    options = {**OPTIONS, "server.headless": not browser, "server.port": port}
    flags = [f"--{name}={one}" for name, value in options.items() for one in _each(value)]
    with pictures(warehouse) if demo else nullcontext():
        _served.append(warehouse)
        print(f"Dashboard: http://127.0.0.1:{port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        sys.exit(cli.main(["run", str(APP), *flags], standalone_mode=False))


def _free_port() -> int:
    """The first port from 8501 on that is free; any that is free, if a hundred are taken."""
    for port in (*range(8501, 8601), 0):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as free:
            return int(free.getsockname()[1])
    raise OSError("no port is free")


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
