"""How a command gets a password: asked for, from standard input, or from a file; never from its arguments."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from provisioner.errors import Invalid

PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="File with the password on its first line; - is standard input.")
]


def read_password(prompt: str, file: Path | None) -> str:
    """
    Return the password: from *file*, from standard input when it is no terminal, else asked for without echo.

    Raises:
        Invalid: there is none.
    """
    if file is not None and str(file) != "-":
        try:
            found = file.read_text().splitlines()[:1]
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"cannot read the password from {file}: {error}", field="password") from None
        password = found[0] if found else ""
    elif sys.stdin.isatty():
        password = typer.prompt(prompt, hide_input=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise Invalid("no password was given: type it, pipe it in, or name a --password-file", field="password")
    return password
