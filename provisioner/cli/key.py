"""`provisioner key`: the keys that seal passwords in the database. Touches the key file, and the database."""

import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet

from provisioner import bootstrap, config
from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.errors import IllegalMove
from provisioner.usecases import keys

KeyId = Annotated[str, typer.Argument(help="Its id, as `key list` shows it.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and rotate the keys that seal passwords.")


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


@app.command("list", epilog=examples("key list"))
def listing(*, json: Json = False) -> None:
    """List the keys by id: which one seals, and how many stored secrets each sealed. Exit code 1 for a missing key."""
    settings, ports = config.load(), plugged()
    ids, counts = bootstrap.key_file(settings).ids(), ports.keys.by_key()
    rows = [(one, "seals" if one == ids[0] else "opens", counts.get(one, 0)) for one in ids]
    rows += [(one, "IS MISSING", count) for one, count in counts.items() if one not in ids]
    if json:
        print_json([{"key": key, "does": does, "secrets": count} for key, does, count in rows])
    else:
        print_table(("key", "does", "secrets sealed by it"), rows, empty="there is no key")
    if counts.keys() - set(ids):
        raise typer.Exit(1)


@app.command(epilog=examples("key add", "key add --last"))
def add(
    *,
    last: Annotated[
        bool, typer.Option("--last", help="It opens, and does not seal yet: for several machines, see below.")
    ] = False,
    json: Json = False,
) -> None:
    """
    Put a new key into the key file; it seals from now on, old ones go on opening. Nothing is restarted.

    With workers on several machines: `key add --last`, copy the file to all of them, `key first ID`, copy it again.
    """
    made = bootstrap.key_file(config.load()).add(last=last)
    _say(made, f"key {made} {'opens' if last else 'seals'} from now on; keep a copy of the file", json=json)


@app.command(epilog=examples("key first 1a2b3c4d"))
def first(key: KeyId, *, json: Json = False) -> None:
    """Let a key of the file seal from now on. Safe to repeat."""
    bootstrap.key_file(config.load()).first(key)
    _say(key, f"key {key} seals from now on", json=json)


@app.command(epilog=examples("key reseal"))
def reseal(*, json: Json = False) -> None:
    """Seal anew, by the key that seals now, what others sealed; in small commits, safe to repeat."""
    ports = plugged()
    present = ports.vault.key_ids[0]
    count = keys.reseal(present, keys=ports.keys, vault=ports.vault)
    if json:
        print_json({"key": present, "resealed": count})
    else:
        typer.echo(f"{count} secrets sealed anew by key {present}")


@app.command(epilog=examples("key drop 5e6f7a8b"))
def drop(key: KeyId, *, json: Json = False) -> None:
    """Take an old key out of the file; refused while a stored secret is sealed by it."""
    file, ports = bootstrap.key_file(config.load()), plugged()
    keys.check_unused(key, file.ids(), keys=ports.keys)
    file.drop(key)
    _say(key, f"key {key} is gone; backups of the database from before `key reseal` still need it", json=json)


def _say(key: str, sentence: str, *, json: bool) -> None:
    if json:
        print_json({"key": key})
    else:
        typer.echo(sentence)


def write(file: Path) -> None:
    """
    Make *file* with a new key in it, readable by us only.

    Raises:
        IllegalMove: it exists already.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise IllegalMove(f"{file} exists already; to add a new key to it, type `provisioner key add`") from None
    with os.fdopen(descriptor, "wb") as output:
        output.write(Fernet.generate_key() + b"\n")
