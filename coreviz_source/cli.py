"""The command `coreviz-source`: a thin face of `sync()` and of the declarations. Heavy imports wait until needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import dlt

    from coreviz_source.report import DatasetReport, Report

#: Options of `sync` that are arguments of `coreviz()`: name, type, help.
SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("dataset_ids", str, "Which datasets to mirror, separated by commas. Default: all that the account sees."),
    ("api_key", str, "The key. Better kept in .dlt/secrets.toml or COREVIZ_API_KEY than on a command line."),
    ("base_url", str, "Where the API is. Default: https://lab.coreviz.io."),
    ("lookback", str, "How far before the last listing an ordinary run looks again. Default: 7d."),
    ("reconcile_every", str, "List the whole dataset if the last time is longer ago; 0: always. Default: 1d."),
    ("deletes", click.Choice(["hard", "soft"]), "Remove rows whose media is gone, or only mark them. Default: hard."),
    ("max_deletes", float, "Stop instead of removing more than this share of a dataset. Default: 0.2."),
    ("date_from", str, "Only media created at or after this, UTC: a backfill in slices."),
    ("date_to", str, "Only media created before this, UTC."),
    ("page_size", int, "Media a request. Default: 100."),
    ("parallel_requests", int, "Listing requests in flight. Default: 4."),
    ("requests_per_second", float, "Budget over all requests. Default: none."),
    ("max_media", int, "Stop after so many media: a sample, which never deletes."),
)


def _settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds options for arguments of `coreviz()`, each also a dlt setting and an environment variable."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, kind, text in reversed(SETTINGS):
            if not names or name in names:
                variable = "COREVIZ_API_KEY" if name == "api_key" else f"SOURCES__COREVIZ__{name.upper()}"
                command = click.option(
                    f"--{name.replace('_', '-')}", name, type=kind, help=f"{text}  [{variable}]", show_default=False
                )(command)
        return command

    return add


def _warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the tables are; the command gets a pipeline."""

    @wraps(command)
    def with_pipeline(destination: str, dataset_name: str, pipeline_name: str, **arguments: Any) -> Any:
        import dlt

        return command(dlt.pipeline(pipeline_name, destination=destination, dataset_name=dataset_name), **arguments)

    for option in (
        click.option(
            "--pipeline-name", default="coreviz_library", show_default=True, help="With duckdb also the file's name."
        ),
        click.option(
            "--dataset-name", default="coreviz", show_default=True, help="Schema of the tables in the warehouse."
        ),
        click.option("--destination", type=click.Choice(["duckdb", "postgres", "bigquery"]), default="duckdb"),
    ):
        with_pipeline = option(with_pipeline)
    return with_pipeline


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="coreviz-source")
def main() -> None:
    """Mirrors a CoreViz Studio library into DuckDB, Postgres or BigQuery.

    Every option is also a key under [sources.coreviz] in .dlt/config.toml, and the variable named behind it.

    Exit codes: 0 done, 1 unexpected, 2 settings, 3 key or access, 4 dataset not found, 5 API unavailable,
    6 safety (unproven listing, delete brake), 7 destination.
    """


@main.command()
@_warehouse
@click.option("--resync", is_flag=True, default=None, help="Load everything again, whatever the warehouse holds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; everything else goes to stderr.")
@_settings()
def sync(pipeline: dlt.Pipeline, as_json: bool, **arguments: Any) -> None:
    """Load what changed since the last run; the first run loads everything."""
    report = _run(pipeline, arguments)
    if as_json:
        click.echo(report.to_json())
    else:
        _print_report(report)
    sys.exit(report.exit_code)


@main.command()
@_settings("dataset_ids", "api_key", "base_url")
def check(**arguments: Any) -> None:
    """Verify the key and the datasets with one request each, and say what was found."""
    from coreviz_source.client import Calls, CorevizClient
    from coreviz_source.errors import CorevizError, worst
    from coreviz_source.settings import resolve

    codes = []
    try:
        settings = resolve(**arguments)
        client = CorevizClient(settings)
        ids = settings.dataset_ids
        if not ids:
            found = client.datasets()
            click.echo(f"{settings.base_url} accepts the key; the account sees {len(found)} datasets.")
            ids = tuple(info["id"] for info in found)
        for dataset_id in ids:
            try:
                page = client.page(dataset_id, 0, 1, Calls())
                click.echo(f"{dataset_id}: {'?' if page.total is None else page.total} media and folders")
            except CorevizError as error:
                codes.append(error.exit_code)
                click.echo(f"{dataset_id}: {error}", err=True)
    except CorevizError as error:
        codes.append(error.exit_code)
        click.echo(str(error), err=True)
    sys.exit(worst(codes))


@main.command()
@click.option("--media", default=240, show_default=True, help="Media in the demo library.")
@click.option("--generation", type=click.Choice(["2025", "2026"]), default="2026", show_default=True)
def demo(media: int, generation: str) -> None:
    """Load the local Studio's demo library into coreviz_demo.duckdb, and ask it three questions."""
    from coreviz_source.demo import run

    sys.exit(run(media, int(generation)))


@main.command()
@_warehouse
@click.option("--demo", is_flag=True, help="Show coreviz_demo.duckdb, which `demo` loads, and serve its pictures.")
@click.option("--port", type=int, help="Port on 127.0.0.1. Default: 8501, or the next that is free.")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
def dashboard(pipeline: dlt.Pipeline, demo: bool, port: int | None, no_browser: bool) -> None:
    """Open a page on the warehouse: pictures with captions, charts, runs. Only reads; only on this machine."""
    import dlt

    from coreviz_source.errors import CorevizError

    try:
        from coreviz_source.dashboard import serve

        if demo:
            pipeline = dlt.pipeline("coreviz_demo", destination="duckdb", dataset_name="coreviz")
        serve(pipeline, port=port, browser=not no_browser, demo=demo)
    except ImportError as error:
        extras = "dashboard,demo" if demo else "dashboard"
        click.echo(f"{error}. The dashboard needs an extra: pip install 'coreviz-source[{extras}]'", err=True)
        sys.exit(2)
    except CorevizError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


@main.command()
@click.option("--format", "form", type=click.Choice(["text", "markdown", "mermaid"]), default="text", show_default=True)
def schema(form: str) -> None:
    """Print the tables and their columns; asks nobody."""
    from coreviz_source.describe import markdown, mermaid, text

    click.echo({"text": text, "markdown": markdown, "mermaid": mermaid}[form](), nl=False)


def _run(pipeline: dlt.Pipeline, arguments: dict[str, Any]) -> Report:
    """`sync()` with the display that suits where stderr goes: live on a terminal, a line a dataset elsewhere."""
    import logging

    from rich.console import Console

    from coreviz_source.runner import sync as run_sync

    # what goes wrong is in the report, which is printed
    logging.getLogger("coreviz_source").addHandler(logging.NullHandler())
    logging.getLogger("coreviz_source").propagate = False
    console = Console(stderr=True)
    if not console.is_terminal:
        return run_sync(pipeline, **arguments)

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[changes]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def show(dataset: DatasetReport) -> None:
            task = tasks.get(dataset.dataset_id)
            if task is None:
                task = tasks[dataset.dataset_id] = progress.add_task(dataset.dataset_id, changes="")
            changes = f"{dataset.new} new, {dataset.changed} changed"
            progress.update(task, completed=dataset.listed, total=dataset.total, changes=changes)

        return run_sync(pipeline, progress=show, **arguments)


def _print_report(report: Report) -> None:
    for dataset_id, dataset in report.datasets.items():
        click.echo(
            f"{dataset_id}  {dataset.outcome}: {dataset.listed} listed, {dataset.new} new, {dataset.changed} changed, "
            f"{dataset.gone} gone; {sum(dataset.rows.values())} rows written, {dataset.requests} requests, "
            f"{dataset.seconds:.1f} s"
        )
        if dataset.unknown_fields:
            click.echo(f"  fields without a column, kept in `extra`: {', '.join(dataset.unknown_fields)}")
        if dataset.message:
            click.echo(f"  {dataset.message}", err=True)
    for error in report.errors:
        click.echo(str(error), err=True)


if __name__ == "__main__":
    main()
