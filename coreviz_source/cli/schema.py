"""`coreviz-source schema`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from coreviz_source.cli.options import settings

EXAMPLES = """\b
Examples:
  coreviz-source schema                          every table and column, for reading
  coreviz-source schema --format json            for programs
  coreviz-source schema --format mermaid         an entity relationship diagram
  coreviz-source schema --format dbt             a dbt project in ./coreviz_dbt
"""


@click.command("schema", epilog=EXAMPLES)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json", "mermaid", "dbt"]),
    default="text",
    show_default=True,
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --format dbt: the folder of the project. Default: coreviz_dbt.",
)
@settings("destination", "dataset_name", "pipeline_name", "history")
def command(form: str, output: Path | None, history: bool | None, **warehouse: str | None) -> None:
    """Print the tables and their columns, or write a dbt project on them. Needs no key, no network and no warehouse.

    The dbt project is for the warehouse that the other options name. Written again, it replaces only files that begin
    with the line about their origin.
    """
    if form == "dbt":
        _write_dbt_project(output, history, **warehouse)
        return
    given = {"output": output, "history": history, **warehouse}
    if unused := [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]:
        raise click.UsageError(f"{', '.join(unused)} can only be used with --format dbt.")
    from coreviz_source.commands import schema

    forms = {"markdown": schema.markdown, "json": schema.as_json, "mermaid": schema.mermaid}
    click.echo(forms.get(form, schema.text)(), nl=False)


def _write_dbt_project(output: Path | None, history: bool | None, **warehouse: str | None) -> None:
    from coreviz_source.commands import dbt
    from coreviz_source.loading.configuration import keeps_history, sectioned_variables
    from coreviz_source.loading.pipeline import resolve_factory
    from coreviz_source.report import counted

    folder = output or Path(dbt.FOLDER)
    factory = resolve_factory(driver=False, **warehouse)
    with sectioned_variables():
        kept = keeps_history(history, factory.values["pipeline_name"])
    project = dbt.write(factory, folder, kept)
    destination = factory.values["destination"]
    click.echo(f"Wrote {counted(len(project.written), 'file')} of a dbt project for {destination} into {folder}.")
    for name in project.kept:
        click.echo(f"Left as it is, because it does not begin with the line about its origin: {folder / name}")
    click.echo(f"\n  cd {shlex.quote(str(folder))} && dbt build    # with dbt-core and dbt-{destination}")
