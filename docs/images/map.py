"""Draws map.svg beside this file, the modules and packages of `coreviz_source` and their imports: `make docs`.

Each row may import from the rows below it, never from above or beside. An arrow is left out where several others
lead to the same place.
"""

from __future__ import annotations

import ast
from functools import cache
from html import escape
from itertools import chain
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "coreviz_source"
PICTURE = HERE / "map.svg"
#: The order of the stages, from what a user calls to what everything needs.
ROWS = (
    ("cli",),
    ("dashboard", "commands", "resident"),
    ("source", "synchronize", "library"),
    ("loading",),
    ("mirror",),
    ("run",),
    ("changes", "unstable", "history"),
    ("evidence",),
    ("warehouse",),
    ("rows",),
    ("listing",),
    ("webhook",),
    ("api",),
    ("notebook",),
    ("report", "selection"),
    ("notices",),
    ("tables", "settings", "extras", "local_studio"),
    ("errors", "values"),
)
WIDTH, ROW, BOX, HEIGHT = 760, 58, 150, 30
Arrow = tuple[str, str]


def parts() -> set[str]:
    """Every module and package at the top of `coreviz_source`."""
    return {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {
        "__init__",
        "__main__",
    }


def imports() -> set[Arrow]:
    """Who imports whom, wherever in a file the import stands."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        importer = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                root, _, rest = name.partition(".")
                imported = rest.partition(".")[0]
                if root == PACKAGE.name and imported in parts() and importer in parts() and imported != importer:
                    found.add((importer, imported))
    return found


def upward(arrows: set[Arrow]) -> set[Arrow]:
    """Imports from the same row, or from one above."""
    row = {name: n for n, names in enumerate(ROWS) for name in names}
    return {(importer, imported) for importer, imported in arrows if row[importer] >= row[imported]}


def shortest(arrows: set[Arrow]) -> set[Arrow]:
    """The arrows without those that a way of several arrows replaces."""

    @cache
    def reached(name: str) -> frozenset[str]:
        below = [imported for importer, imported in arrows if importer == name]
        return frozenset(chain(below, *map(reached, below)))

    return {
        (importer, imported)
        for importer, imported in arrows
        if not any(imported in reached(other) for start, other in arrows if start == importer and other != imported)
    }


def picture() -> str:
    """The picture, as SVG."""
    middle = {
        name: (WIDTH * (column + 1) / (len(names) + 1), ROW * number + ROW / 2)
        for number, names in enumerate(ROWS)
        for column, name in enumerate(names)
    }
    lines = []
    for importer, imported in sorted(shortest(imports())):
        (x, y), (to_x, to_y) = middle[importer], middle[imported]
        y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2 - 5
        bend = (to_y - y) / 2
        # around the boxes of the rows between
        side = 0 if to_y - y < ROW else (110 if x + to_x >= WIDTH else -110)
        lines.append(
            f'<path d="M{x:.0f} {y:.0f}C{x + side:.0f} {y + bend:.0f} {to_x + side:.0f} {to_y - bend:.0f} '
            f'{to_x:.0f} {to_y:.0f}"/>'
        )
    for name, (x, y) in middle.items():
        label = f"{name}/" if (PACKAGE / name).is_dir() else f"{name}.py"
        lines.append(
            f'<rect x="{x - BOX / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{BOX}" height="{HEIGHT}" rx="4"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(label)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * len(ROWS)}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="14" style="background: white">\n'
        "<style>rect{fill:#eef2f5;stroke:#607d8b}text{text-anchor:middle;fill:#222}"
        "path{fill:none;stroke:#8a9ba5;marker-end:url(#end)}</style>\n"
        '<marker id="end" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<polygon points="0,0 8,4 0,8" fill="#8a9ba5"/></marker>\n' + "\n".join(lines) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
