"""The documentation as a site: it builds without a warning (a broken link is one) and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs import ROOT


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # not --quiet, which does not count warnings
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        capture_output=True,
        text=True,
    )


def test_the_site_builds_with_every_link_and_anchor_in_place_and_loads_nothing_from_elsewhere(tmp_path):
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    first = re.sub(r"<[^>]+>", "", pages["index.html"])
    assert "uvx coreviz-source demo" in first and "make demo" in first
    for name in (ROOT / "docs").glob("*.md"):
        assert f"{name.stem}/index.html" in pages
    for page in pages.values():
        assert not re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?https?://[^>]*", page)


def test_a_link_or_an_anchor_that_leads_nowhere_fails_the_site(tmp_path):
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "benchmarks", "pipelines", ".dlt"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".*"))
    with (tmp_path / "README.md").open("a") as readme:
        readme.write("[one](docs/no-such-page.md) [two](docs/operations.md#no-such-part) [three](no-such-file.py)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    for missing in ("no-such-page.md", "no-such-part", "no-such-file.py"):
        assert missing in done.stderr
