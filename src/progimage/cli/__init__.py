"""The command line."""

import click

from progimage.cli.access import audit, keys, owners, sign, ticket
from progimage.cli.serving import serve
from progimage.cli.upkeep import doctor, jobs, scrub


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="progimage")
def main() -> None:
    """ProgImage: store images, and get them back in any format."""


@main.command()
def formats() -> None:
    """List every format: its extensions, and whether it can be read and written."""
    from progimage.engine import FORMATS

    for format in FORMATS.values():
        uses = ("r" if format.can_read else "-") + ("w" if format.can_write else "-")
        click.echo(f"{format.name:<8} {uses}  {', '.join(format.extensions):<32} {format.description}")


for command in (serve, keys, owners, audit, sign, ticket, scrub, doctor, jobs):
    main.add_command(command)
