"""Makes notebook.png beside this file again: `make demo`, then `.venv/bin/python docs/images/notebook.py`.

Opens a new notebook on coreviz_demo.duckdb of the working directory in a headless Chromium (Debian: chromium and
chromium-driver), searches it, and writes what is seen. `--all DIRECTORY` writes the whole notebook instead, 1400 and
400 pixels wide, light and dark, for somebody to look at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.browser import Browser, browser  # noqa: E402

COMMAND = [sys.executable, "-m", "coreviz_source", "notebook", "--demo", "--no-browser", "--output"]
#: Height of what marimo shows above the cells.
TOP = 90
#: marimo's fields are in shadow trees.
FIELD = """
const inside = (node) => [node, ...[...(node.shadowRoot?.children ?? []), ...(node.children ?? [])].flatMap(inside)];
return inside(document.body).find((node) => node.placeholder?.includes("red shoe"));
"""


def search(page: Browser, words: str) -> None:
    """Waits until all cells have run, and searches."""
    page.until("document.body.innerText.includes('last_caption') && document.images.length", 60)
    page.js(FIELD).send_keys(f"{words}\n")
    page.until(
        "[...document.images].every((image) => image.complete) && document.body.innerText.match(/red shoe is/)", 30
    )
    time.sleep(2)


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIRECTORY", help="write all of it in each width and scheme")
    directory: Path | None = parser.parse_args().all
    shots = [(1400, 1420, "light", HERE / "notebook.png")]
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        sizes = ((1400, 2400), (400, 3000))
        shots = [(w, h, s, directory / f"notebook-{w}-{s}.png") for w, h in sizes for s in ("light", "dark")]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([*COMMAND, f"{folder}/coreviz_notebook.py"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = next(line.split()[-1] for line in server.stdout if "access_token" in line)
            with browser() as page:
                for width, height, scheme, file in shots:
                    page.size(width, height)
                    page.scheme(scheme)
                    page.open(address)
                    search(page, '"red shoe"')
                    # without the name of the folder at the top
                    clip = {"x": 0, "y": TOP, "width": width, "height": height - TOP, "scale": 1}
                    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})
                    file.write_bytes(b64decode(shot["data"]))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
