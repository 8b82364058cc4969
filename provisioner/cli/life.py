"""What a service may be asked after its order, by hand: `provisioner service close` and its like."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner.bootstrap import App
from provisioner.cli.context import app as plugged
from provisioner.cli.context import operator
from provisioner.cli.output import Json, examples, print_json
from provisioner.cli.secret import PasswordFile, read_password
from provisioner.ports import Asked
from provisioner.usecases import life
from provisioner.usecases.life import Asking
from provisioner.views import job as jobs
from provisioner.views import service as services

Ref = Annotated[str, typer.Argument(help="Its reference at billing.")]
Panel = Annotated[str | None, typer.Option(help="Its billing panel, where several have that reference.")]
Reason = Annotated[str, typer.Option(help="Whose suspension it is: billing, abuse or staff.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", help="The same key gives the same job.")]


def register(app: typer.Typer) -> None:
    """Put the commands on `provisioner service`."""
    app.command(epilog=examples("service close ord-1"))(close)
    app.command(epilog=examples("service suspend ord-1", "service suspend ord-1 --reason abuse"))(suspend)
    app.command(epilog=examples("service resume ord-1 --reason abuse"))(resume)
    app.command("add-address", epilog=examples("service add-address ord-1 --count 2 --idempotency-key k1"))(add_address)
    app.command("delete-address", epilog=examples("service delete-address ord-1 192.0.2.7"))(delete_address)
    app.command(epilog=examples("service password ord-1 --idempotency-key k2"))(password)
    app.command(epilog=examples("service reinstall ord-1 --confirm alice.example.net --idempotency-key k3"))(reinstall)
    app.command(epilog=examples("service power ord-1 off", "service power ord-1 reboot --idempotency-key k4"))(power)
    app.command(epilog=examples("service sync ord-1"))(sync)


def close(ref: Ref, panel: Panel = None, *, json: Json = False) -> None:
    """Take the server back: ports off and disabled first, its owner leaves last. Safe to repeat."""
    ports = plugged()
    _say(ports, life.close(_asking(ports, ref, panel)), json=json)


def suspend(ref: Ref, reason: Reason = "billing", panel: Panel = None, *, json: Json = False) -> None:
    """Switch its ports off, for one reason. Safe to repeat."""
    ports = plugged()
    _say(ports, life.suspend(_asking(ports, ref, panel), reason), json=json)


def resume(ref: Ref, reason: Reason = "billing", panel: Panel = None, *, json: Json = False) -> None:
    """Lift one reason; ports go on when none is left. Safe to repeat."""
    ports = plugged()
    _say(ports, life.resume(_asking(ports, ref, panel), reason), json=json)


def add_address(
    ref: Ref,
    count: Annotated[int, typer.Option(help="How many.")] = 1,
    family: Annotated[str, typer.Option(help="ipv4 or ipv6.")] = "ipv4",
    panel: Panel = None,
    key: Key = None,
    *,
    json: Json = False,
) -> None:
    """Take more addresses: all of them, or none."""
    ports = plugged()
    _say(ports, life.add_address(_asking(ports, ref, panel, key), count=count, family=family), json=json)


def delete_address(
    ref: Ref, ip: Annotated[str, typer.Argument(help="The address.")], panel: Panel = None, *, json: Json = False
) -> None:
    """Give one address back; the main one stays."""
    ports = plugged()
    _say(ports, life.delete_address(_asking(ports, ref, panel), ip, reads=ports.reads), json=json)


def password(
    ref: Ref, password_file: PasswordFile = None, panel: Panel = None, key: Key = None, *, json: Json = False
) -> None:
    """Change the password of the customer's DCIM user: one from --password-file, else one that is made."""
    ports = plugged()
    given = _given(password_file)
    _say(ports, life.change_password(_asking(ports, ref, panel, key), given, vault=ports.vault), json=json)


def reinstall(
    ref: Ref,
    confirm: Annotated[str, typer.Option(help="The service's hostname: the disks are wiped.")],
    os: Annotated[str | None, typer.Option(help="OS template; without it the present one.")] = None,
    panel: Panel = None,
    key: Key = None,
    *,
    json: Json = False,
) -> None:
    """Wipe the disks and install again."""
    ports = plugged()
    asking = _asking(ports, ref, panel, key)
    asked = life.reinstall(asking, os=os, confirm=confirm, reads=ports.reads, vault=ports.vault)
    _say(ports, asked, json=json)


def power(
    ref: Ref,
    state: Annotated[str, typer.Argument(help="on, off or reboot.")],
    panel: Panel = None,
    key: Key = None,
    *,
    json: Json = False,
) -> None:
    """Switch power on or off, or reboot once."""
    ports = plugged()
    _say(ports, life.power(_asking(ports, ref, panel, key), state), json=json)


def sync(ref: Ref, panel: Panel = None, *, json: Json = False) -> None:
    """Read the server whole, compare with what we hold, record; changes nothing there."""
    ports = plugged()
    _say(ports, life.sync(_asking(ports, ref, panel)), json=json)


def _asking(ports: App, ref: str, panel: str | None, key: str | None = None) -> Asking:
    return Asking(
        panel=services.show(ref, reads=ports.reads, panel=panel).panel,
        external_ref=ref,
        by=operator(),
        life=ports.life,
        waker=ports.waker,
        policies=ports.policies,
        key=key,
    )


def _say(ports: App, asked: Asked, *, json: bool) -> None:
    found = jobs.show(asked.job_id, reads=ports.reads, spans=ports.spans)
    if json:
        print_json(found)
        return
    again = "" if asked.created else " carries it out already"
    typer.echo(f"job {asked.job_id} ({found.kind}){again}: {found.sentence}")
    typer.echo(f"usually {life.usually(found.kind)}; follow it: provisioner job watch {asked.job_id}")


def _given(file: Path | None) -> str | None:
    return None if file is None else read_password("New password of the customer's DCIM user", file)
