"""The environments of the peers: one for each file in `requirements/`, made when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class NotInstalled(Exception):
    """pip could not install what a peer needs."""


def environment(name: str) -> Path:
    """The folder of an environment's programs; made again when its requirements have changed.

    Raises:
        NotInstalled: With the end of what pip said.
    """
    requirements = HERE / "requirements" / f"{name}.txt"
    folder = HERE / ".environments" / name
    made_of = folder / requirements.name
    if not made_of.exists() or made_of.read_text() != requirements.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--requirement", str(requirements)], capture_output=True, text=True)
        if done.returncode:
            raise NotInstalled(done.stderr[-2000:])
        shutil.copy(requirements, made_of)
    return folder / "bin"
