"""Makes the pictures of the documentation again: `make demo`, then `.venv/bin/python docs/images/make.py`.

Opens the dashboard on coreviz_demo.duckdb of the working directory in a headless Chromium (Debian: chromium and
chromium-driver) and writes the pictures of docs/dashboard.md beside this file. `--all DIRECTORY` writes every page
instead, 1400 and 400 pixels wide, light and dark, for somebody to look at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.browser import Browser, browser  # noqa: E402

URL = "http://127.0.0.1:8599"
COMMAND = [sys.executable, "-m", "coreviz_source", "dashboard", "--demo", "--no-browser", "--port", "8599"]
#: What has to be there before a page is photographed.
READY = {
    "gallery": "document.querySelector('.cv-card')",
    "media": "document.querySelector('.cv-stage img')?.naturalWidth",
    "charts": "document.querySelectorAll('[data-testid=stVegaLiteChart] svg').length === 2",
    "runs": "document.querySelector('[data-testid=stVegaLiteChart] svg')",
}
HEIGHTS = {1400: 900, 400: 800}
#: The pictures in the documentation: page, width, scheme, name.
DOCUMENTED = (
    ("gallery", 1400, "light", "dashboard-gallery"),
    ("media", 1400, "dark", "dashboard-media"),
    ("charts", 1400, "light", "dashboard-charts"),
    ("runs", 1400, "light", "dashboard-runs"),
    ("gallery", 400, "dark", "dashboard-gallery-phone"),
    ("media", 400, "light", "dashboard-media-phone"),
    ("charts", 400, "dark", "dashboard-charts-phone"),
)


def photograph(page: Browser, path: str, name: str, width: int, scheme: str, file: Path) -> None:
    """Opens a page in this width and scheme, and writes what is seen first."""
    page.size(width, HEIGHTS[width])
    page.scheme(scheme)
    page.open(f"{URL}/{path}")
    page.until(READY[name])
    page.settled()
    time.sleep(1)
    page.driver.save_screenshot(str(file))


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIRECTORY", help="write every page, in both widths and schemes")
    directory: Path | None = parser.parse_args().all
    wanted = [(page, width, scheme, HERE / f"{name}.png") for page, width, scheme, name in DOCUMENTED]
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        wanted = [
            (page, width, scheme, directory / f"{page}-{width}-{scheme}.png")
            for page in READY
            for width in HEIGHTS
            for scheme in ("light", "dark")
        ]
    server = subprocess.Popen(COMMAND)
    try:
        for _ in range(100):
            try:
                urlopen(URL).close()
                break
            except OSError:
                time.sleep(0.2)
        with browser(1400, 900) as page:
            page.size(1400, 900)
            page.open(f"{URL}/?q=red")
            page.until(READY["gallery"])
            video = "[...document.querySelectorAll('.cv-card')].find((c) => c.querySelector('.cv-badge'))"
            address = str(page.js(f"return {video}.href")).removeprefix(f"{URL}/")
            paths = {"gallery": "?q=red", "media": address, "charts": "charts", "runs": "runs"}
            for name, width, scheme, file in wanted:
                photograph(page, paths[name], name, width, scheme, file)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
