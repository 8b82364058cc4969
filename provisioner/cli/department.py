"""`provisioner department`: who is in charge, and how they are reached."""

from typing import Annotated

import typer

from provisioner.cli.context import app as plugged
from provisioner.cli.output import Json, examples, print_json, print_table
from provisioner.domain.matters import Department
from provisioner.usecases import tell
from provisioner.views import tickets as view

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Those in charge, to whom errors go.")


@app.command(
    "set",
    epilog=examples(
        "department set default --address oncall@example.net",
        "department set dc1-hands --address hands@example.net --language ru",
        "department set dc1-hands --desk rt --address 'DC 1 hands'",
        "department set chat --desk webhook --address https://chat.example.net/hook",
        "connection put dc1 --in-charge dc1-hands --keep-password --url … --username …",
    ),
)
def set_(
    name: Annotated[str, typer.Argument(help="Its name; `default` hears of what names nobody.")],
    address: Annotated[str, typer.Option(help="A mailbox; of rt a queue's name; of webhook an https address.")],
    desk: Annotated[str, typer.Option(help="How they are reached: email, rt or webhook.")] = "email",
    language: Annotated[str, typer.Option(help="Of the messages: en or ru.")] = "en",
    *,
    json: Json = False,
) -> None:
    """Save who is in charge; a desk that does not work is said, what waits is tried again at once."""
    ports = plugged()
    given = Department(name=name, address=address, desk=desk, language=language)
    trouble = tell.save_department(given, tickets=ports.tickets, desks=ports.desks)
    if json:
        print_json({"name": name, "desk": desk, "address": address, "language": language, "trouble": trouble})
        return
    typer.echo(f"{name}: messages go to {address}")
    if trouble:
        typer.echo(f"WARNING: not now, they wait: {trouble}", err=True)


@app.command("list", epilog=examples("department list", "department list --json"))
def list_(*, json: Json = False) -> None:
    """List the departments and what each is in charge of."""
    found = view.departments(reads=plugged().reads)
    if json:
        print_json(found)
        return
    print_table(
        ("name", "desk", "address", "language", "in charge of"),
        ((row.name, row.desk, row.address, row.language, list(row.connections)) for row in found),
        empty="nobody hears of errors: type `provisioner department set default --address …`",
    )
