"""Draws the diagram of the tables again, when a test says that it is old.

`npm pack mermaid@11` and unpack it, then `.venv/bin/python docs/images/tables.py package/dist/mermaid.min.js`. Mermaid
runs in a headless Chromium, as for make.py, and tables.svg beside this file also keeps the text that it was drawn from.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from coreviz_source.commands.schema import mermaid  # noqa: E402
from tests.browser import browser  # noqa: E402

OPTIONS = """{
    startOnLoad: false, htmlLabels: false, deterministicIds: true, theme: "neutral",
    fontFamily: "Helvetica, Arial, sans-serif",
}"""


def main(program: str) -> None:
    """Writes the picture."""
    with browser(1400, 1000) as page:
        page.open("data:text/html,<body></body>")
        page.js(
            "document.head.append(Object.assign(document.createElement('script'), {textContent: arguments[0]}))",
            Path(program).read_text(encoding="utf-8"),
        )
        page.js(
            f"mermaid.initialize({OPTIONS});"
            "mermaid.render('tables', arguments[0]).then((made) => { window.made = made.svg })",
            mermaid(),
        )
        svg = page.until("window.made")
    # readable on a dark page too
    head, rest = svg.replace('style="', 'style="background: white; ', 1).split(">", 1)
    picture = f"{head}><desc>{escape(mermaid(), quote=False)}</desc>{rest}"
    (HERE / "tables.svg").write_text(picture + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
