"""The rooms of the house: imports go one way, what needs no dlt loads none, and nobody reaches into another object."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "coreviz_source"
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}

#: Each group imports only from its own and from those above it.
ORDER = (
    ("errors", "values"),
    ("tables", "settings", "extras"),
    ("notices",),
    ("selection", "report"),
    ("notebook",),
    ("api",),
    ("webhook",),
    ("listing",),
    ("rows",),
    ("warehouse",),
    ("changes", "evidence", "unstable", "history"),
    ("run",),
    ("mirror",),
    ("loading",),
    ("source", "synchronize", "library"),
    ("resident",),
    ("commands",),
    ("cli", "dashboard"),
    ("__init__", "__main__"),
)
PLACE = {room: place for place, rooms in enumerate(ORDER) for room in rooms}
#: The commands that start the local Studio.
STARTS_THE_STUDIO = {"cli/studio", "commands/demo", "commands/notebook", "dashboard/demo"}
#: Each reaches into dlt, because dlt has no public way to do what it does; its docstring says what for.
REACH_INTO_DLT = {"loading/guard", "loading/switches"}
#: Public in spite of their names: the standard library documents them.
DOCUMENTED = {"_exit", "_replace"}


def room_of(module: str) -> str:
    return module.split("/")[0]


def imports_of(path: Path) -> set[str]:
    """The rooms that a module imports, also in a function or for type checkers."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "coreviz_source":
            names.update("__init__" for _ in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coreviz_source."):
            names.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names.update(name.name.split(".")[1] for name in node.names if name.name.startswith("coreviz_source."))
    return names


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module):
    room = room_of(module)
    imported = imports_of(MODULES[module]) - {room}
    if room == "local_studio":
        assert not imported
        return
    if module in STARTS_THE_STUDIO:
        imported.discard("local_studio")
    assert [name for name in imported if name not in PLACE or PLACE[name] > PLACE[room]] == []


def test_api_listing_and_rows_load_no_dlt():
    rooms = ("api", "listing", "rows", "report", "settings", "tables", "selection")
    names = [f"coreviz_source.{m.replace('/', '.')}" for m in MODULES if room_of(m) in rooms and "__init__" not in m]
    program = f"import sys, {', '.join(names)}; print([m for m in sys.modules if m.partition('.')[0] == 'dlt'])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def private_names(tree: ast.AST) -> set[str]:
    """The private names that a module defines: functions, methods, and attributes of its own objects."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_rich_takes_no_brackets_and_no_colons_in_names_for_markup():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "rich":
                # `rich.print` interprets what it prints
                assert "print" not in [name.name for name in node.names], module
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Console":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert (given.get("markup"), given.get("emoji")) == ("False", "False"), module


@pytest.mark.parametrize("module", sorted(MODULES.keys() - REACH_INTO_DLT))
def test_no_object_reaches_into_the_private_members_of_another(module):
    tree = ast.parse(MODULES[module].read_text())
    own = private_names(tree)
    reached = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in own
        and node.attr not in DOCUMENTED
    ]
    assert reached == []
