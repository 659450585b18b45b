"""`coreviz-source schema`."""

from __future__ import annotations

import click

EXAMPLES = """\b
Examples:
  coreviz-source schema                          every table and column, for reading
  coreviz-source schema --format json            for programs
  coreviz-source schema --format mermaid         an ERD, for a README
"""


@click.command("schema", epilog=EXAMPLES)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json", "mermaid"]), default="text", show_default=True
)
def command(form: str) -> None:
    """Print the tables and their columns. Asks nobody: needs neither key nor network."""
    from coreviz_source.commands import schema as describe

    forms = {"markdown": describe.markdown, "json": describe.as_json, "mermaid": describe.mermaid}
    click.echo(forms.get(form, describe.text)(), nl=False)
