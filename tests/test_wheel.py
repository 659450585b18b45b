"""What is published: a wheel that works without a clone, and an image that works as nobody on a read-only root."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from threading import Timer

import pytest

from tests.docs import ROOT
from tests.test_licences import installed

UV = str(Path(sys.executable).parent / "uv")
#: Read before the tests get a home of their own: everything comes from there that was downloaded once.
UV_CACHE = os.environ.get("UV_CACHE_DIR") or subprocess.run([UV, "cache", "dir"], capture_output=True, text=True).stdout
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: What no base installation brings, itself or through others: it belongs to extras.
EXTRAS_ONLY = {
    *("adbc-driver-manager", "adbc-driver-postgresql", "psycopg2-binary", "sqlalchemy"),
    *("boto3", "db-dtypes", "google-auth", "google-cloud-bigquery", "grpcio", "s3fs"),
    *("altair", "dagster", "numpy", "pandas", "polars", "streamlit"),
}


def tracked() -> list[str]:
    """The repository's files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def build(into: Path, names: list[str], *, mode: int, changed: float) -> None:
    """Builds from a copy of files, with other permissions and times than the next one."""
    for name in names:
        copy = into / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(mode | (ROOT / name).stat().st_mode & 0o100)
        os.utime(copy, (changed, changed))
    hatchling(into / "source", into)


def hatchling(source: Path, into: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into), *targets]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, umask=0o077)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The folder of sdist and wheel, and by suffix both of them."""
    folder = tmp_path_factory.mktemp("built")
    build(folder, tracked(), mode=0o644, changed=1e9)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"folder": folder, "whl": wheel, "sdist": sdist}


def test_two_builds_are_equal_byte_by_byte_whatever_the_clock_and_the_permissions(built, tmp_path):
    build(tmp_path / "again", tracked(), mode=0o600, changed=1.7e9)
    for file in (built["whl"], built["sdist"]):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    # a release builds the wheel from the sdist
    with tarfile.open(built["sdist"]) as archive:
        archive.extractall(tmp_path, filter="data")
    hatchling(tmp_path / built["sdist"].name.removesuffix(".tar.gz"), tmp_path, "-t", "wheel")
    assert (tmp_path / built["whl"].name).read_bytes() == built["whl"].read_bytes()


def test_the_wheel_has_the_package_and_the_sdist_the_repository_and_nothing_else(built):
    with zipfile.ZipFile(built["whl"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = {name for name in tracked() if name.startswith("coreviz_source/")}
    assert names == package
    assert {"coreviz_source/py.typed", "coreviz_source/warehouse/views/freshness.sql"} < names
    with tarfile.open(built["sdist"]) as sdist:
        assert {name.partition("/")[2] for name in sdist.getnames()} == {*tracked(), "PKG-INFO"}


def test_a_base_installation_brings_neither_a_dashboard_nor_a_cloud_nor_a_driver(built):
    with zipfile.ZipFile(built["whl"]) as wheel:
        (path,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = message_from_bytes(wheel.read(path))
    required = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {re.split(r"[<>=]", line)[0] for line in required} == {
        *("click", "dlt[duckdb]", "duckdb", "filelock", "httptools", "msgspec", "pyarrow", "requests", "rich"),
        *("pyyaml", "sqlglot"),
        *("starlette", "tenacity", "urllib3", "uvicorn", "xxhash"),
    }
    extras = set(metadata.get_all("Provides-Extra", [])) - {"dev", "docs"}
    page = (ROOT / "docs" / "install.md").read_text()
    assert extras == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    base = installed("coreviz-source", frozenset())
    assert not set(base) & EXTRAS_ONLY
    assert len(base) <= 50, sorted(base)


@contextmanager
def process(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    too_late = Timer(120, running.kill)
    too_late.start()
    try:
        yield running
    finally:
        running.terminate()
        running.wait(30)
        too_late.cancel()


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="coreviz-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_an_installed_wheel_does_everything_without_the_clone_and_so_does_the_image(built, anywhere):
    environment = anywhere / "environment"
    uv = {**os.environ, "UV_CACHE_DIR": UV_CACHE.strip(), "VIRTUAL_ENV": str(environment)}
    for words in (
        ["venv", "--quiet", "--python", os.path.realpath(sys.executable), str(environment)],
        ["pip", "install", "--quiet", str(built["whl"])],
    ):
        done = subprocess.run([UV, *words], env=uv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    program = str(environment / "bin" / "coreviz-source")
    home, folder = anywhere / "home", anywhere / "folder"
    home.mkdir()
    folder.mkdir()
    base = {"HOME": str(home), "PATH": f"{environment / 'bin'}:/usr/bin:/bin"}

    def run(*words: str, **more: str) -> str:
        done = subprocess.run([program, *words], cwd=folder, env={**base, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    # README's first commands
    demo, search = re.findall(r"^uvx coreviz-source (.*?)(?: +#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    shown = run(*shlex.split(demo))
    assert "Second load: 1 media item changed" in shown and "  coreviz-source sync  " in shown
    assert "red shoe" in run(*shlex.split(search))
    assert "caption_search (view)" in run("schema")
    with process([program, "studio", "--media", "20", "--datasets", "1"], base, folder) as studio:
        url, key, dataset = studio.stdout.readline().split()
        account = {"COREVIZ_API_KEY": key, "SOURCES__COREVIZ__BASE_URL": url}
        assert "exit code 0 (done)" in run("sync", **account)
        (status,) = json.loads(run("status", "--json", **account))["datasets"]
        assert (status["dataset_id"], status["media"], status["outcome"]) == (dataset, 20, "complete")
        # what was written is in the folder, and dlt's working directory in the home
        assert {path.name for path in folder.iterdir()} == {"coreviz_demo.duckdb", "coreviz_library.duckdb"}
        as_the_image(environment, anywhere / "data", account)


def instruction(name: str) -> str:
    """The arguments of the last such instruction of the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def as_the_image(environment: Path, volume: Path, account: dict[str, str]) -> None:
    """Starts and checks what the Dockerfile says, as its user; if root runs the tests, on a read-only root."""
    user, group = instruction("USER").split(":")
    volume.mkdir()
    assert instruction("VOLUME") == instruction("WORKDIR") == "/data"
    set_to = dict(word.split("=", 1) for word in instruction("ENV").split())
    set_to |= {"PATH": set_to["PATH"].replace("/opt/coreviz", str(environment)).replace("$PATH", "/usr/bin:/bin")}
    variables = {name: value.replace("/data", str(volume)) for name, value in set_to.items()} | account | {"HOME": "/"}
    entry = [str(environment / "bin" / word) for word in json.loads(instruction("ENTRYPOINT"))]
    prefix: list[str] = []
    if os.getuid() == 0:
        os.chown(volume, int(user), int(group))
        script = (
            'mount --bind "$0" "$0"; mount --bind "$1" /mnt; mount -t tmpfs -o mode=755 tmpfs /root; mkdir -p "$1"; '
            'mount --bind /mnt "$1"; mount -t tmpfs -o mode=1777 tmpfs /tmp; mount -o remount,bind,ro /; cd "$0"; '
            f"shift; exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set -all "
            '"$@"'
        )
        prefix = ["unshare", "--mount", "sh", "-ec", script, str(volume), sys.base_prefix]
    command = [*prefix, *entry, *json.loads(instruction("CMD"))]
    with process(command, variables, volume) as mirror:
        lines = [""]
        while ": complete (" not in lines[-1]:
            lines.append(mirror.stdout.readline())
            assert lines[-1], "".join(lines)
        # the cycle's end comes after that line, and until then the file is locked
        deadline = time.monotonic() + 60
        while "coreviz_library.duckdb.lock" in os.listdir(volume) and time.monotonic() < deadline:
            time.sleep(0.05)
        health = json.loads(re.findall(r"CMD (\[.*\])", instruction("HEALTHCHECK"))[0])
        assert health[0] == "coreviz-source"
        checked = subprocess.run(
            [*prefix, *entry, *health[1:]], cwd=volume, env=variables, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    # `docker stop`
    assert mirror.returncode == 0
    assert {path.name for path in volume.iterdir()} == {"coreviz_library.duckdb", "dlt"}
    assert {path.stat().st_uid for path in volume.rglob("*")} == {int(user) if prefix else os.getuid()}


def test_the_image_is_built_from_files_that_the_context_has_and_that_suffice(built, tmp_path):
    named = [
        word for line in re.findall(r"^COPY (?!--)(.*) /src\S*$", DOCKERFILE, re.MULTILINE) for word in line.split()
    ]
    sent = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(sent)
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")
    build(tmp_path, [name for name in tracked() if name.split("/")[0] in named], mode=0o644, changed=1e9)
    assert (tmp_path / built["whl"].name).read_bytes() == built["whl"].read_bytes()
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    with zipfile.ZipFile(built["whl"]) as wheel:
        (path,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        assert set(extras.split(",")) < set(message_from_bytes(wheel.read(path)).get_all("Provides-Extra"))
