"""A test double of BigQuery: its REST API on loopback, called by Google's own client, with DuckDB behind it.

It knows what this project's loads and questions need, and is loud about everything else: a request, a setting of a
job or a statement that it does not know is an error that the test sees. What BigQuery refuses it refuses too: unknown
columns, NULL where it is not allowed, values of another type than the column's, comparisons between types, required
columns that are added later, keys that are not the account's. It is not Google's own analyser: what goes over the wire
is in `tests/data/bigquery.sql` as well, to be read.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.crypt import RSASigner
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema
from sqlglot.tokens import TokenType

# to read a key takes longer than most requests, and each connection reads the same one
RSASigner.from_string = functools.cache(RSASigner.from_string)

#: Whom a service account tells that it wants a token, whatever its `token_uri` is.
AUDIENCE = "https://oauth2.googleapis.com/token"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: DuckDB's types as BigQuery names them.
TYPES = {
    "VARCHAR": "STRING",
    "BIGINT": "INT64",
    "INTEGER": "INT64",
    "DOUBLE": "FLOAT64",
    "BOOLEAN": "BOOL",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "JSON": "JSON",
    "DATE": "DATE",
    "VARCHAR[]": "ARRAY<STRING>",
}
#: What answers have beside: numbers that are wider in DuckDB.
ANSWERS = {**TYPES, "HUGEINT": "INT64", "DECIMAL(18,1)": "NUMERIC"}
#: What a load job may say, with JSON and with parquet; every other key or value is unknown.
LOAD = {
    "sourceFormat": "NEWLINE_DELIMITED_JSON",
    "writeDisposition": "WRITE_APPEND",
    "createDisposition": "CREATE_NEVER",
    "autodetect": False,
    "ignoreUnknownValues": False,
    "maxBadRecords": 0,
}
PARQUET = {**LOAD, "sourceFormat": "PARQUET", "decimalTargetTypes": ["NUMERIC", "BIGNUMERIC"]}


class Refused(Exception):
    """An answer of BigQuery that is an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    @property
    def body(self) -> dict[str, Any]:
        if not self.reason:
            return {"error": "invalid_grant", "error_description": str(self)}
        error = {"reason": self.reason, "message": str(self), "domain": "global"}
        return {"error": {"code": self.status, "message": str(self), "errors": [error]}}


def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class BigQuery:
    """The service with one project, for as long as a `with` block lasts.

    `statements` and `loads` hold what was asked of it, `unknown` what it did not know; `denied` names permissions that
    the account lacks, `broken` a table whose next load job fails.
    """

    def __init__(self, project: str = "coreviz-test") -> None:
        self.project = project
        self.statements: list[str] = []
        self.loads: list[dict[str, Any]] = []
        self.tables: dict[tuple[str, str], exp.Create] = {}
        self.unknown: list[str] = []
        self.denied: set[str] = set()
        self.broken: str | None = None
        self._key = key()
        self.locations: dict[str, str] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        # the types of the columns of the tables of the datasets
        self._columns: dict[str, dict[str, dict[str, str]]] = {}
        self._known: tuple[str, MappingSchema] | None = None
        self._lock = threading.Lock()
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        self._database.execute(f"ATTACH ':memory:' AS \"{project}\"")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def credentials(self, signed_by: rsa.RSAPrivateKey | None = None, **other: str) -> dict[str, str]:
        """A service account as Google hands it out."""
        pem = (signed_by or self._key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key": pem.decode(),
            "client_email": f"loader@{self.project}.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
            **other,
        }

    def __enter__(self) -> BigQuery:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._database.close()

    # requests

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, JSON and headers for a request."""
        parts = urlsplit(url)
        try:
            with self._lock:
                if parts.path == "/token":
                    return 200, self._token(parse_qs(body.decode())), {}
                if headers["Authorization"] != "Bearer token":
                    raise Refused(401, "authError", "Invalid Credentials")
                if match := re.fullmatch(r"(/upload)?/bigquery/v2/projects/([^/]+)(/.*)", parts.path):
                    uploaded, project, path = bool(match[1]), unquote(match[2]), match[3]
                    if project != self.project:
                        raise Refused(404, "notFound", f"Not found: Project {project}")
                    given = body if method == "PUT" else json.loads(body or b"null")
                    if uploaded:
                        return self._upload(method, parse_qs(parts.query), headers, given)
                    return 200, self._call(method, path, given), {}
                raise self._not_known(f"{method} {url}")
        except Refused as refused:
            return refused.status, refused.body, {}

    def _not_known(self, what: str) -> Refused:
        self.unknown.append(what)
        return Refused(501, "notImplemented", f"The test double does not know {what}")

    def _need(self, permission: str, what: str) -> None:
        if permission in self.denied:
            raise Refused(403, "accessDenied", f"Access Denied: {what}: Permission {permission} denied on {what}.")

    def _token(self, form: dict[str, list[str]]) -> dict[str, Any]:
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            jwt.decode(form["assertion"][0], certs=public, audience=AUDIENCE)
        except Exception:
            raise Refused(400, "", "Invalid JWT Signature.") from None
        return {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}

    def _call(self, method: str, path: str, given: Any) -> dict[str, Any]:
        if (method, path) == ("POST", "/queries"):
            self._need("bigquery.jobs.create", f"Project {self.project}")
            return self._query(given)
        if (method, path) == ("POST", "/datasets"):
            self._need("bigquery.datasets.create", f"Project {self.project}")
            return self._create_dataset(given["datasetReference"]["datasetId"], given)
        if method == "GET" and (match := re.fullmatch(r"/datasets/(\w+)", path)):
            self._need("bigquery.datasets.get", f"Dataset {self.project}:{match[1]}")
            self._expect_dataset(match[1])
            return {"datasetReference": {"projectId": self.project, "datasetId": match[1]}}
        if (method, path) == ("POST", "/jobs"):
            return self._load(given, self._staged(given))
        if method == "GET" and (match := re.fullmatch(r"/jobs/([\w-]+)", path)):
            return self._jobs[match[1]]
        raise self._not_known(f"{method} {path}")

    def _upload(
        self, method: str, query: dict[str, list[str]], headers: Any, given: Any
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        if method == "POST":
            name = given["jobReference"]["jobId"]
            self._jobs.setdefault(f"upload {name}", given)
            return 200, {}, {"Location": f"{self.url}/upload/bigquery/v2/projects/{self.project}/jobs?upload_id={name}"}
        if not re.fullmatch(r"bytes 0-\d+/\d+", headers["Content-Range"]):
            raise self._not_known(f"an upload in parts: {headers['Content-Range']}")
        return 200, self._load(self._jobs.pop(f"upload {query['upload_id'][0]}"), given), {}

    # datasets and load jobs

    def _create_dataset(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        try:
            self._database.execute(f'CREATE SCHEMA "{self.project}"."{name}"')
        except duckdb.CatalogException:
            raise Refused(409, "duplicate", f"Already Exists: Dataset {self.project}:{name}") from None
        types = " ".join(f"WHEN '{ours}' THEN '{theirs}'" for ours, theirs in TYPES.items())
        where = f"WHERE table_catalog = '{self.project}' AND table_schema = '{name}' AND table_name NOT LIKE '%.%'"
        information = f'"{self.project}"."{name}"."INFORMATION_SCHEMA.'
        self._database.execute(
            f'CREATE VIEW {information}COLUMNS" AS SELECT table_name, column_name, '
            f"CASE data_type {types} END AS data_type, is_nullable, ordinal_position "
            f"FROM information_schema.columns {where};"
            f'CREATE VIEW {information}TABLES" AS SELECT table_name, table_type FROM information_schema.tables {where};'
            f'CREATE TABLE {information}TABLE_OPTIONS" (table_name TEXT, option_name TEXT, option_value TEXT)'
        )
        self.locations[name] = given["location"]
        columns = dict.fromkeys(("table_name", "column_name", "data_type", "is_nullable"), "STRING")
        self._columns[name] = {
            "INFORMATION_SCHEMA.COLUMNS": {**columns, "ordinal_position": "INT64"},
            "INFORMATION_SCHEMA.TABLES": dict.fromkeys(("table_name", "table_type"), "STRING"),
            "INFORMATION_SCHEMA.TABLE_OPTIONS": dict.fromkeys(("table_name", "option_name", "option_value"), "STRING"),
        }
        return given

    def _expect_dataset(self, name: str, location: str | None = None) -> None:
        if name not in self.locations or location not in (None, self.locations[name]):
            raise Refused(
                404, "notFound", f"Not found: Dataset {self.project}:{name} was not found in location {location}"
            )

    def _no_table(self, dataset: str, name: str) -> Refused:
        if name.startswith("INFORMATION_SCHEMA."):
            return self._not_known(name)
        return Refused(404, "notFound", f"Not found: Table {self.project}:{dataset}.{name}")

    def _staged(self, given: dict[str, Any]) -> bytes:
        """What a load job is to read: files stand for objects of Cloud Storage."""
        load = given["configuration"].get("load") or {}
        uris = load.get("sourceUris", ["nothing"])
        if not all(uri.startswith("file:///") for uri in uris):
            raise self._not_known(f"a job that reads {uris}")
        return b"".join(Path(unquote(urlsplit(uri).path)).read_bytes() for uri in uris)

    def _load(self, given: dict[str, Any], content: bytes) -> dict[str, Any]:
        load, name = given["configuration"]["load"], given["jobReference"]["jobId"]
        settings = {k: v for k, v in load.items() if k not in ("destinationTable", "sourceUris")}
        self.loads.append({"table": ".".join(list(load["destinationTable"].values())[1:]), **settings})
        if settings not in (LOAD, PARQUET):
            raise self._not_known(f"the load job {settings}")
        self._need("bigquery.jobs.create", f"Project {self.project}")
        if name in self._jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {self.project}:{name}")
        status: dict[str, Any] = {"state": "DONE"}
        rows = 0
        try:
            rows = self._append(load["destinationTable"], content, settings == PARQUET)
        except Refused as refused:
            status["errorResult"] = refused.body["error"]["errors"][0]
            status["errors"] = [status["errorResult"]]
        self._jobs[name] = {
            "jobReference": {
                "location": self.locations[load["destinationTable"]["datasetId"]],
                **given["jobReference"],
            },
            "configuration": given["configuration"],
            "status": status,
            "statistics": {"load": {"outputRows": str(rows)}},
        }
        return self._jobs[name]

    def _append(self, table: dict[str, str], content: bytes, parquet: bool) -> int:
        dataset, name = table["datasetId"], table["tableId"]
        columns = self._columns.get(dataset, {}).get(name)
        if columns is None:
            raise self._no_table(dataset, name)
        if self.broken == name:
            self.broken = None
            raise Refused(400, "invalid", f"Error while reading data for {name}, as the test wished")
        if parquet and "JSON" in columns.values():
            raise Refused(
                400, "invalid", f"Error while reading data: {name} has JSON columns, which are not in parquet"
            )
        rows = []
        for row in _parquet(content) if parquet else _lines(content):
            if unknown := row.keys() - columns.keys():
                raise Refused(400, "invalid", f"Error while reading data: No such field: {unknown}.")
            rows.append([_value(row.get(c), kind, f"{name}.{c}") for c, kind in columns.items()])
        try:
            self._database.register("loaded", pa.table({c: [row[i] for row in rows] for i, c in enumerate(columns)}))
            self._database.execute(f'INSERT INTO "{self.project}"."{dataset}"."{name}" SELECT * FROM loaded')
        except duckdb.ConstraintException as error:
            raise Refused(400, "invalid", f"Missing required field: {error}") from None
        return len(rows)

    # statements

    def _query(self, given: dict[str, Any]) -> dict[str, Any]:
        sql = given["query"]
        self.statements.append(sql)
        if given.get("useLegacySql") is not False or given.get("parameterMode", "POSITIONAL") != "POSITIONAL":
            raise self._not_known(f"a query with {given}")
        answer: dict[str, Any] = {}
        try:
            for statement in sqlglot.parse(_filled(sql, given.get("queryParameters", [])), dialect="bigquery"):
                assert statement is not None
                answer = self._run(statement, given["location"])
        except SqlglotError as error:
            raise Refused(400, "invalidQuery", f"{error} in {sql}") from None
        except duckdb.CatalogException as error:
            raise Refused(404, "notFound", f"Not found: Table or dataset: {error}") from None
        except duckdb.Error as error:
            raise Refused(400, "invalidQuery", f"{error} in {sql}") from None
        job = {"projectId": self.project, "jobId": f"query-{len(self.statements)}", "location": given["location"]}
        return {"jobReference": job, "jobComplete": True, **answer}

    def _run(self, statement: exp.Expression, location: str) -> dict[str, Any]:
        made = statement.find(exp.Table) if isinstance(statement, exp.Create) else None
        names = {cte.alias for cte in statement.find_all(exp.CTE)}
        for table in statement.find_all(exp.Table):
            if not table.db and table.name in names:
                continue
            if not table.db or table.catalog != self.project:
                raise self._not_known(f"a table that is not qualified: {table.sql('bigquery')}")
            self._expect_dataset(table.db, location)
            if table is not made and table.name not in self._columns[table.db]:
                raise self._no_table(table.db, table.name)
        if isinstance(statement, exp.Query):
            self._check(statement)
            return _rows(self._execute(statement))
        if isinstance(statement, exp.Declare):
            return {}
        self._need(f"bigquery.tables.{'create' if made else 'updateData'}", f"Project {self.project}")
        if isinstance(statement, exp.Create) and statement.kind == "TABLE":
            self._create(statement)
        elif isinstance(statement, exp.Create) and statement.kind == "VIEW":
            self._create_view(statement)
        elif isinstance(statement, exp.Alter):
            self._alter(statement)
        elif isinstance(statement, exp.Insert):
            self._check_insert(statement)
            self._execute(statement)
        elif isinstance(statement, exp.Delete) and statement.args.get("where"):
            self._check(exp.select("1").from_(statement.this.copy()).where(statement.args["where"].this.copy()))
            self._execute(statement)
        elif isinstance(statement, exp.Update) and statement.args.get("where"):
            self._check_update(statement)
            self._execute(statement)
        elif isinstance(statement, exp.TruncateTable):
            self._execute(statement)
        else:
            raise self._not_known(f"the statement {statement.sql('bigquery')}")
        return {"numDmlAffectedRows": "0"}

    def _execute(self, statement: exp.Expression) -> duckdb.DuckDBPyConnection:
        def as_text(node: exp.Expression) -> exp.Expression:
            if isinstance(node, exp.JSONFormat):
                # SQL's NULL becomes the text null
                return exp.func("COALESCE", exp.cast(node.this, "TEXT"), exp.Literal.string("null"))
            return node

        return self._database.execute(statement.transform(as_text).sql("duckdb"))

    def _create(self, statement: exp.Create) -> None:
        table = statement.this.this
        columns = {c.name: c for c in statement.this.expressions}
        for column in columns.values():
            column.kind.set("expressions", [])  # dlt's own tables bound the length of texts
            if column.kind.sql("bigquery") not in TYPES.values():
                raise self._not_known(f"the type of {column.sql('bigquery')}")
        cluster = statement.find(exp.ClusterProperty)
        for part in cluster.expressions if cluster else ():
            if columns[part.name].kind.sql("bigquery") in ("JSON", "FLOAT64") or len(cluster.expressions) > 4:
                raise Refused(400, "invalidQuery", f"Cannot cluster by {cluster.sql('bigquery')}")
        if partition := statement.find(exp.PartitionedByProperty):
            expected = [f"TIMESTAMP_TRUNC(`{c}`, MONTH)" for c in columns]
            if partition.this.sql("bigquery") not in expected:
                raise self._not_known(f"the partitions {partition.sql('bigquery')}")
        plain = exp.Create(this=statement.this.copy(), kind="TABLE", exists=statement.args.get("exists"))
        for column in plain.this.expressions:
            kept = [c for c in column.args["constraints"] if isinstance(c.kind, exp.NotNullColumnConstraint)]
            column.set("constraints", kept)
        self._execute(plain)
        self._columns[table.db].setdefault(table.name, {n: c.kind.sql("bigquery") for n, c in columns.items()})
        self.tables.setdefault((table.db, table.name), statement)
        self._describe(statement, table)

    def _create_view(self, statement: exp.Create) -> None:
        table = statement.find(exp.Table)
        typed = self._check(statement.expression)
        self._execute(exp.Create(this=table.copy(), kind="VIEW", replace=True, expression=statement.expression.copy()))
        self._columns[table.db][table.name] = {c.alias_or_name: c.type.sql("bigquery") for c in typed.selects}
        self._describe(statement, table)

    def _describe(self, statement: exp.Create, table: exp.Table) -> None:
        for option in statement.args["properties"].expressions if statement.args.get("properties") else ():
            if isinstance(option, exp.Property) and option.name == "description":
                options = f'"{self.project}"."{table.db}"."INFORMATION_SCHEMA.TABLE_OPTIONS"'
                self._database.execute(f"DELETE FROM {options} WHERE table_name = ?", [table.name])
                literal = json.dumps(option.args["value"].name, ensure_ascii=False)
                self._database.execute(f"INSERT INTO {options} VALUES (?, 'description', ?)", [table.name, literal])

    def _alter(self, statement: exp.Alter) -> None:
        for column in statement.args["actions"]:
            if not isinstance(column, exp.ColumnDef):
                raise self._not_known(f"the change {column.sql('bigquery')}")
            if column.find(exp.NotNullColumnConstraint):
                raise Refused(400, "invalidQuery", "Cannot add required fields to an existing schema.")
            column.set("constraints", [])
            self._execute(exp.Alter(this=statement.this.copy(), kind="TABLE", actions=[column.copy()]))
            self._columns[statement.this.db][statement.this.name][column.name] = column.kind.sql("bigquery")

    def _schema(self) -> MappingSchema:
        """The tables and columns, for sqlglot; made again only when there are others."""
        now = repr(self._columns)
        if self._known is None or self._known[0] != now:
            self._known = (now, MappingSchema({self.project: self._columns}, dialect="bigquery"))
        return self._known[1]

    def _check(self, select: exp.Query) -> exp.Expression:
        """Refuses unknown columns, and comparisons that BigQuery has no signature for."""
        schema = self._schema()
        qualified = qualify(select.copy(), schema=schema, dialect="bigquery", expand_stars=False)
        typed = annotate_types(qualified, schema=schema, dialect="bigquery")
        for comparison in typed.find_all(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In):
            sides = [comparison.this, *(comparison.expressions or [comparison.args.get("expression")])]
            kinds = {side.type.sql("bigquery") for side in sides if side is not None} - {"UNKNOWN", "NULL"}
            if len(kinds) > 1:
                raise Refused(
                    400, "invalidQuery", f"No matching signature for {comparison.sql('bigquery')} with {kinds}"
                )
        return typed

    def _check_insert(self, statement: exp.Insert) -> None:
        """Refuses values of another type than the column's."""
        if not isinstance(statement.this, exp.Schema):
            raise self._not_known("an INSERT that names no columns")
        table = statement.this.this
        columns = self._columns[table.db][table.name]
        source = statement.expression
        if isinstance(source, exp.Values):
            selects = [exp.select(*(value.copy() for value in row.expressions)) for row in source.expressions]
        else:
            selects = [source]
        for select in selects:
            for column, value in zip(statement.this.expressions, self._check(select).selects, strict=True):
                kind = value.type.sql("bigquery")
                if columns.get(column.name) != kind and kind != "NULL":
                    raise Refused(400, "invalidQuery", f"{column.name}: {columns.get(column.name)} is given {kind}")

    def _check_update(self, statement: exp.Update) -> None:
        """Refuses values of another type than the column's, and conditions that a SELECT could not have."""
        table, assignments = statement.this, statement.expressions
        values = exp.select(*(one.expression.copy() for one in assignments)).from_(table.copy())
        typed = self._check(values.where(statement.args["where"].this.copy()))
        columns = self._columns[table.db][table.name]
        for assignment, value in zip(assignments, typed.selects, strict=True):
            name, kind = assignment.this.name, value.type.sql("bigquery")
            if columns.get(name) != kind and kind != "NULL":
                raise Refused(400, "invalidQuery", f"{name}: {columns.get(name)} is given {kind}")


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    yield from (json.loads(line) for line in text.split(b"\n") if line)


def _parquet(content: bytes) -> Iterator[dict[str, Any]]:
    for row in pq.read_table(pa.BufferReader(content)).to_pylist():
        yield {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _filled(sql: str, parameters: list[dict[str, Any]]) -> str:
    """The statement with its parameters in it, as literals of their types."""
    marks = [token for token in sqlglot.tokenize(sql, read="bigquery") if token.token_type == TokenType.PLACEHOLDER]
    for mark, parameter in reversed(list(zip(marks, parameters, strict=True))):
        value = parameter["parameterValue"].get("value")
        literal = exp.null() if value is None else exp.Literal.string(str(value))
        typed = exp.cast(literal, parameter["parameterType"]["type"], dialect="bigquery").sql("bigquery")
        sql = sql[: mark.start] + typed + sql[mark.end + 1 :]
    return sql


def _value(value: Any, kind: str, column: str) -> Any:
    """The value of a field as DuckDB takes it; refused if it is not of the column's type."""
    fits = {
        "STRING": lambda: isinstance(value, str),
        "INT64": lambda: type(value) is int and -(2**63) <= value < 2**63,
        "FLOAT64": lambda: type(value) in (int, float),
        "BOOL": lambda: isinstance(value, bool),
        "TIMESTAMP": lambda: (
            isinstance(value, str)
            and re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", value)
        ),
        "JSON": lambda: True,
    }
    if value is None:
        return None
    if not fits[kind]():
        raise Refused(400, "invalid", f"Could not convert value to {kind}. Field: {column}; Value: {value!r}")
    return json.dumps(value, ensure_ascii=False) if kind == "JSON" else value


def _rows(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    kinds = [ANSWERS[str(column[1])] for column in cursor.description or ()]
    names = [column[0] for column in cursor.description or ()]
    rows = cursor.fetchall()
    return {
        "schema": {
            "fields": [
                {
                    "name": name if re.fullmatch(r"\w+", name) else f"f{i}_",
                    "type": kind.removeprefix("ARRAY<").removesuffix(">"),
                    "mode": "REPEATED" if kind.startswith("ARRAY") else "NULLABLE",
                }
                for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
            ]
        },
        "totalRows": str(len(rows)),
        "rows": [{"f": [{"v": _sent(v, k)} for v, k in zip(row, kinds, strict=True)]} for row in rows],
    }


def _sent(value: Any, kind: str) -> Any:
    if kind.startswith("ARRAY"):
        return [{"v": each} for each in value or ()]  # no answer has an array that is NULL
    if value is None:
        return None
    if kind == "TIMESTAMP":
        return str((value - EPOCH) // timedelta(microseconds=1))
    return str(value).lower() if kind == "BOOL" else repr(value) if kind == "FLOAT64" else str(value)


def _handler(double: BigQuery) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, answer, headers = double.answer(self.command, self.path, self.headers, body)
            except Exception as error:
                double.unknown.append(f"{type(error).__name__}: {error} in {self.command} {self.path} {body[:500]!r}")
                status, answer, headers = 501, Refused(501, "notImplemented", repr(error)).body, {}
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *values: Any) -> None:
            pass

    return Handler
