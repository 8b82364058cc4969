"""`provisioner key`: the key that seals passwords in the database. Touches one file."""

import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet

from provisioner.cli.output import Json, examples, print_json
from provisioner.errors import IllegalMove

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make keys that seal passwords.")


@app.command(epilog=examples("key generate /etc/provisioner/secret.key"))
def generate(
    file: Annotated[Path, typer.Argument(help="File to write; readable by its owner only.")],
    *,
    json: Json = False,
) -> None:
    """Write a new key to FILE. An existing file is left alone: what it sealed could not be read any more."""
    write(file)
    if json:
        print_json({"file": str(file)})
    else:
        typer.echo(f"wrote {file}; set PROVISIONER_SECRET_KEY_FILE={file}, and keep a copy off this machine")


def write(file: Path) -> None:
    """
    Make *file* with a new key in it, readable by us only.

    Raises:
        IllegalMove: it exists already.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IllegalMove(f"{file} exists already: put a new key on a line of its own above the old ones") from None
    with os.fdopen(descriptor, "wb") as output:
        output.write(Fernet.generate_key() + b"\n")
