"""The command that installs a missing extra is right for how this package was installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from coreviz_source.cli import main
from coreviz_source.extras import install_command

GIT = {"url": "https://example.com/c.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
WHEEL = {"url": "file:///tmp/coreviz_source-0.1.0-py3-none-any.whl", "archive_info": {}}


@pytest.mark.parametrize(
    ("origin", "installer", "expected"),
    [
        (None, "pip", "python -m pip install 'coreviz-source[dashboard,postgres]'"),
        (None, "uv\n", "uv pip install --python python 'coreviz-source[dashboard,postgres]'"),
        (
            GIT,
            "pip",
            "python -m pip install 'coreviz-source[dashboard,postgres] @ git+https://example.com/c.git@abc123'",
        ),
        (WHEEL, "pip", f"python -m pip install 'coreviz-source[dashboard,postgres] @ {WHEEL['url']}'"),
        ({"url": "file:///a%20b", "dir_info": {}}, "pip", "python -m pip install '/a b[dashboard,postgres]'"),
        (
            {"url": "file:///here", "dir_info": {"editable": True}},
            "pip",
            "python -m pip install --editable '.[dashboard,postgres]'",
        ),
    ],
)
def test_the_hint_installs_from_where_the_package_came(monkeypatch, origin, installer, expected):
    texts = {"direct_url.json": json.dumps(origin) if origin else None, "INSTALLER": installer}
    monkeypatch.setattr("coreviz_source.extras.distribution", lambda _: SimpleNamespace(read_text=texts.get))
    monkeypatch.setattr("sys.executable", "python")
    monkeypatch.setattr("pathlib.Path.cwd", lambda: Path("/here"))
    assert install_command("dashboard", "postgres") == expected


def test_the_hint_keeps_to_the_tool_that_made_the_environment(monkeypatch, tmp_path):
    """pipx and uvx make environments without pip, and that of uvx is not used again."""
    monkeypatch.setattr("coreviz_source.extras.distribution", lambda _: SimpleNamespace(read_text=lambda _: None))
    environment = tmp_path / "coreviz-source"
    environment.mkdir()
    (environment / "pipx_metadata.json").touch()
    monkeypatch.setattr("sys.prefix", str(environment))
    assert install_command("postgres") == "pipx inject coreviz-source 'coreviz-source[postgres]'"
    monkeypatch.setattr("sys.prefix", str(tmp_path / "archive-v0" / "hZheYwVF7TEMxC5S"))
    monkeypatch.setenv("UV", "/usr/bin/uv")
    monkeypatch.setitem(sys.modules, "streamlit", None)
    hint = CliRunner().invoke(main, ["dashboard", "--demo"], prog_name="coreviz-source").output
    assert hint.strip().endswith("Run uvx --from 'coreviz-source[dashboard]' coreviz-source dashboard")


def test_a_command_that_lacks_an_extra_names_it():
    code = "import sys; sys.modules['streamlit'] = None; from coreviz_source.cli import main; main([*sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", code, "dashboard"], capture_output=True, text=True)
    assert done.returncode == 2
    _, _, command = done.stderr.strip().partition(" Run ")
    assert command.endswith("[dashboard]'") and command == install_command("dashboard"), done.stderr
