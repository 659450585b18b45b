"""Makes the pictures of the documentation again: `make demo`, then `.venv/bin/python docs/images/make.py`.

Opens the dashboard on coreviz_demo.duckdb of the working directory in a headless Chromium (Debian: chromium and
chromium-driver) and writes dashboard-gallery.png and dashboard-media.png beside this file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.browser import browser  # noqa: E402

URL = "http://127.0.0.1:8599"
COMMAND = [sys.executable, "-m", "coreviz_source", "dashboard", "--demo", "--no-browser", "--port", "8599"]


def main() -> None:
    """Writes the pictures."""
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
            page.scheme("light")
            page.open(f"{URL}/?q=red")
            page.until("document.querySelector('.cv-card')")
            page.settled()
            video = "[...document.querySelectorAll('.cv-card')].find((c) => c.querySelector('.cv-badge'))"
            address = page.js(f"return {video}.href")
            time.sleep(1)
            page.driver.save_screenshot(str(HERE / "dashboard-gallery.png"))
            page.scheme("dark")
            page.open(address)
            page.until("document.querySelector('.cv-stage img')?.naturalWidth")
            page.settled()
            time.sleep(1)
            page.driver.save_screenshot(str(HERE / "dashboard-media.png"))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
