"""A lake whose files are in a bucket: an S3 server on this machine, without TLS, its buckets in the path."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dlt
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from coreviz_source import open_library
from coreviz_source.commands.forget import Subject, forget
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, media_of, run_sync

#: A server of one's own takes any character.
SECRET = "canary'7f+4711"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server."""
    # it logs every request
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A bucket, whether it exists or not, and what it has."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self.credentials = {
            "aws_access_key_id": "loader",
            "aws_secret_access_key": SECRET,
            "region_name": "us-east-1",
            "endpoint_url": endpoint,
        }
        self.client: Any = boto3.client("s3", **self.credentials)

    def pipeline(self, folder: Path, directory: str) -> dlt.Pipeline:
        """A pipeline into a lake with its catalog and working directory in a folder."""
        storage = {"bucket_url": f"s3://{self.name}/lake", "credentials": self.credentials}
        return dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.ducklake(
                credentials={"catalog": f"sqlite:///{folder}/{directory}.sqlite", "storage": storage}
            ),
            dataset_name="coreviz",
            pipelines_dir=str(folder / directory),
        )

    def having(self, *texts: str) -> list[str]:
        """The objects in which one of some strings is."""
        listed = self.client.list_objects_v2(Bucket=self.name)["Contents"]
        objects = {each["Key"]: self.client.get_object(Bucket=self.name, Key=each["Key"]) for each in listed}
        rows = {key: str(pq.read_table(io.BytesIO(found["Body"].read())).to_pylist()) for key, found in objects.items()}
        return [key for key, text in rows.items() if any(each in text for each in texts)]


def test_a_lake_in_a_bucket_follows_every_change_and_what_is_forgotten_is_in_no_object(endpoint, tmp_path, caplog):
    bucket = Bucket(endpoint, "coreviz-library")
    bucket.client.create_bucket(Bucket=bucket.name)
    lake = bucket.pipeline(tmp_path, "here")
    library = frozen(20)
    with Studio(library) as studio:
        assert run_sync(lake, studio).exit_code == 0
        assert_equal_to(lake, studio)
        kept, deleted = media_of(library, frames=1)[:2]
        library.add_caption(kept["id"], "Zebra-4711 in a later load.")
        library.delete(deleted["id"])
        assert run_sync(lake, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(lake, studio)
        assert open_library(lake).query("SELECT count(*) FROM captions WHERE text LIKE 'Zebra%'").fetchall() == [(1,)]
        assert bucket.having(kept["id"]) and bucket.having(deleted["id"])

        library.delete(kept["id"])
        forget(lake, Subject(media_ids=[kept["id"]]))
        assert bucket.having("Zebra-4711", kept["id"], deleted["id"]) == []
        assert run_sync(lake, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(lake, studio)

        elsewhere = Bucket("http://127.0.0.1:1", bucket.name), Bucket(endpoint, "missing")
        for nowhere, remedy in zip(elsewhere, ("whether the server runs", "Create the bucket"), strict=True):
            report = run_sync(nowhere.pipeline(tmp_path, f"{nowhere.name} {remedy[:5]}"), studio)
            assert report.exit_code == 7 and remedy in report.errors[0].remedy
            assert SECRET not in " ".join([report.to_json(), str(report), caplog.text])
