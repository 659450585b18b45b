"""`coreviz-source schema`."""

from __future__ import annotations

import click

EXAMPLES = """\b
Examples:
  coreviz-source schema                          every table and column, for reading
  coreviz-source schema --format json            for programs
  coreviz-source schema --format mermaid         an entity relationship diagram
"""


@click.command("schema", epilog=EXAMPLES)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json", "mermaid"]), default="text", show_default=True
)
def command(form: str) -> None:
    """Print the tables and their columns. Needs no key and no network."""
    from coreviz_source.commands import schema

    forms = {"markdown": schema.markdown, "json": schema.as_json, "mermaid": schema.mermaid}
    click.echo(forms.get(form, schema.text)(), nl=False)
