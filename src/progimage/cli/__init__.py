"""The command line."""

import errno
import sqlite3
from typing import Any

import click

from progimage.cli.access import audit, keys, owners, sign, ticket
from progimage.cli.backup import backup, backups, restore
from progimage.cli.images import get, info, list_, put, rm
from progimage.cli.local import bench, completion, formats, transform
from progimage.cli.serving import serve
from progimage.cli.transfer import export, import_
from progimage.cli.upkeep import adopt, check, doctor, jobs, scrub, sweeps
from progimage.plugins import PluginError

_SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Images in a service (--url, --key)": (put, get, info, list_, rm),
    "Image files": (transform, bench, formats),
    "A deployment": (serve, keys, owners, sign, ticket, audit, jobs, sweeps, scrub, check, doctor, adopt),
    "Backups": (backup, backups, restore),
    "Moving images": (export, import_),
    "The shell": (completion,),
}


class _Sections(click.Group):
    """Lists the commands in sections by topic."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and report a file that can't be read or written in one line."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the output has closed it
                raise
            raise click.ClickException(f"{error.filename or 'A file'}: {error.strerror or error}") from None
        except sqlite3.Error as error:
            raise click.ClickException(f"A scratch file can't be written: {error}") from None
        except PluginError as error:
            raise click.ClickException(str(error)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(one.name), one.get_short_help_str(limit=90)) for one in commands])


@click.group(
    cls=_Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Exit codes:
  0  success
  1  failure, explained on standard error
  2  invalid command line

Results go to standard output, everything else to standard error. --json prints results as JSON, one line per item.""",
)
@click.version_option(package_name="progimage")
def main() -> None:
    """ProgImage: store images and retrieve them in any format."""


for _commands in _SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
