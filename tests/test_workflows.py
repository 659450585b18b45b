"""The workflows and the Dockerfile, which run elsewhere: they pass their linters, and fit the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import yaml

from tests.docs import ROOT

BIN = Path(sys.executable).parent
WORKFLOWS = {path.stem: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def jobs(workflow: str) -> dict[str, Any]:
    return yaml.safe_load(WORKFLOWS[workflow])["jobs"]


def zizmor(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "zizmor", "--offline", "--quiet", path], capture_output=True, text=True)


def test_zizmor_finds_nothing_in_the_workflows_and_would_find_something(tmp_path):
    done = zizmor(ROOT / ".github")
    assert done.returncode == 0, done.stdout + done.stderr
    careless = tmp_path / ".github" / "workflows" / "tests.yml"
    careless.parent.mkdir(parents=True)
    careless.write_text(re.sub(r"(actions/checkout)@\w+ # (v\d+)\S*", r"\1@\2", WORKFLOWS["tests"]))
    assert "unpinned-uses" in zizmor(tmp_path).stdout


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(images)) == 1 and re.search(r":\d[\w.-]+@sha256:[0-9a-f]{64}$", images[0]), images


def test_every_action_is_pinned_to_one_commit_and_names_its_version():
    text = "".join(WORKFLOWS.values())
    used = re.findall(r"uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)\n", text)
    assert len(used) == text.count("uses:")
    assert len(set(used)) == len({action for action, _, _ in used})


def test_every_python_that_the_package_names_is_tested_before_a_merge_and_before_a_release():
    prefix = "Programming Language :: Python :: 3."
    named = [line for line in metadata("coreviz-source").get_all("Classifier") or [] if line.startswith(prefix)]
    versions = [line.rpartition(" ")[2] for line in named]
    assert jobs("tests")["test"]["strategy"]["matrix"]["python"] == versions
    assert jobs("release")["try"]["strategy"]["matrix"]["python"] == versions
    assert jobs("tests")["wheel"]["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"run: make (\w+)", "".join(WORKFLOWS.values())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_only_the_step_that_publishes_may_publish_and_no_workflow_has_a_secret():
    for name, text in WORKFLOWS.items():
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {} and "secrets." not in text
        for job, steps in workflow["jobs"].items():
            rights = {right for right, kind in steps.get("permissions", {}).items() if kind == "write"}
            expected = {("release", "publish"): {"id-token"}, ("docs", "deploy"): {"id-token", "pages"}}
            assert rights == expected.get((name, job), set()), job
    publish = jobs("release")["publish"]
    assert publish["environment"]["name"] == "pypi" and publish["needs"] == "try"
    # with code of others in it, a step could take the rights
    assert all("run" not in step for step in publish["steps"])
    assert publish["steps"][-1]["with"]["attestations"] is True
