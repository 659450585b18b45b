"""The command that installs a missing extra is right for how this package was installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coreviz_source.extras import install_command

GIT = {"url": "https://example.com/c.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
WHEEL = {"url": "file:///tmp/coreviz_source-0.1.0-py3-none-any.whl", "archive_info": {}}


@pytest.mark.parametrize(
    ("origin", "installer", "expected"),
    [
        (None, "pip", "python -m pip install 'coreviz-source[demo,dashboard]'"),
        (None, "uv\n", "uv pip install --python python 'coreviz-source[demo,dashboard]'"),
        (GIT, "pip", "python -m pip install 'coreviz-source[demo,dashboard] @ git+https://example.com/c.git@abc123'"),
        (WHEEL, "pip", f"python -m pip install 'coreviz-source[demo,dashboard] @ {WHEEL['url']}'"),
        ({"url": "file:///a%20b", "dir_info": {}}, "pip", "python -m pip install '/a b[demo,dashboard]'"),
        (
            {"url": "file:///here", "dir_info": {"editable": True}},
            "pip",
            "python -m pip install --editable '.[demo,dashboard]'",
        ),
    ],
)
def test_the_hint_installs_from_where_the_package_came(monkeypatch, origin, installer, expected):
    texts = {"direct_url.json": json.dumps(origin) if origin else None, "INSTALLER": installer}
    monkeypatch.setattr("coreviz_source.extras.distribution", lambda _: SimpleNamespace(read_text=texts.get))
    monkeypatch.setattr("sys.executable", "python")
    monkeypatch.setattr("pathlib.Path.cwd", lambda: Path("/here"))
    assert install_command("demo", "dashboard") == expected


def test_each_command_that_lacks_an_extra_names_all_that_it_needs():
    code = (
        "import sys; sys.modules['starlette'] = sys.modules['streamlit'] = None; "
        "from coreviz_source.cli import main; main([*sys.argv[1:]])"
    )
    needed = {"demo": "demo", "studio": "demo", "dashboard": "dashboard", "dashboard --demo": "dashboard,demo"}
    for line, extras in needed.items():
        done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True)
        assert done.returncode == 2
        _, _, command = done.stderr.strip().partition(" Run ")
        assert command.endswith(f"[{extras}]'") and command == install_command(*extras.split(",")), done.stderr
