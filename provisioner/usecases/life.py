"""What may be asked of a service after its order: one wish a call, taken once, carried out by a job."""

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from provisioner.domain.attempt import Policy
from provisioner.domain.blast import CALLER
from provisioner.domain.life import NEED_KEY, USUALLY, Wish
from provisioner.domain.naming import hostname, storable
from provisioner.domain.server import Family
from provisioner.domain.service import ServiceKind
from provisioner.domain.states import JobKind
from provisioner.errors import IllegalMove, Invalid, NotFound
from provisioner.ports import Asked, Life, Reads, Sealed, Vault, Waker
from provisioner.usecases.submit import PASSWORD_BYTES

REASONS = ("billing", "abuse", "staff")  #: whose suspension it is
POWER = ("on", "off", "reboot")
ADDRESSES_MOST = 64  #: of one job
PASSWORD_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Asking:
    """Whose service it is, who asks, and what is needed to take the wish."""

    panel: str
    external_ref: str
    by: str
    life: Life
    waker: Waker
    policies: Mapping[str, Policy]
    key: str | None = None  #: Idempotency-Key


def usually(kind: str) -> str:
    """Say how long a job of that kind takes when nothing is in its way."""
    return USUALLY.get(JobKind(kind), "a few minutes")


def close(asking: Asking) -> Asked:
    """Take the server back, from every state; safe to repeat. Raises `NotFound`."""
    return _ask(asking, Wish(JobKind.CLOSE))


def suspend(asking: Asking, reason: str) -> Asked:
    """Switch its ports off for one reason; reasons are kept apart. Raises `NotFound`, `Invalid`, `IllegalMove`."""
    return _ask(asking, Wish(JobKind.SUSPEND, {"reason": _one_of(reason, REASONS, "reason")}))


def resume(asking: Asking, reason: str) -> Asked:
    """Lift one reason; ports go on when none is left. Raises as `suspend`."""
    return _ask(asking, Wish(JobKind.RESUME, {"reason": _one_of(reason, REASONS, "reason")}))


def add_address(asking: Asking, *, count: int, family: str) -> Asked:
    """Take *count* more addresses of a family; the key is needed. Raises as `suspend`."""
    if not 1 <= count <= ADDRESSES_MOST:
        raise Invalid(f"count {count}: between 1 and {ADDRESSES_MOST} addresses can be asked for", field="count")
    named = _one_of(family, tuple(one.value for one in Family), "family")
    return _ask(asking, Wish(JobKind.ADD_ADDRESS, {"count": count, "family": named}))


def delete_address(asking: Asking, ip: str, *, reads: Reads) -> Asked:
    """
    Give one address back; one that is gone already is success.

    Raises:
        Invalid: no address, or the main one.
        NotFound: no such service, or the address is not one of its own.
    """
    try:
        wanted = str(ipaddress.ip_address(ip.strip()))
    except ValueError:
        raise Invalid(f"{ip!r} is no IP address; write it like 192.0.2.7 or 2001:db8::7", field="ip") from None
    services = reads.services(asking.external_ref, panel=asking.panel)
    if not services:
        raise NotFound(f"no service {asking.external_ref!r}")
    held = {str(ipaddress.ip_address(row["ip"])): row for row in services[0]["addresses"]}
    row = held.get(wanted)
    if row is None and wanted not in services[0]["gone_addresses"]:
        raise NotFound(f"service {asking.external_ref}: {wanted} is not, and was not, one of its addresses")
    if row is not None and row["main"]:
        raise Invalid(f"{wanted} is the server's main address; it stays for as long as the service does", field="ip")
    return _ask(asking, Wish(JobKind.DELETE_ADDRESS, {"ip": row["ip"] if row else wanted}))


def change_password(asking: Asking, password: str | None, *, vault: Vault) -> Asked:
    """Set the panel password of the customer's user; None: we make one. The key is needed. Raises as `suspend`."""
    if password is not None and not password:
        raise Invalid("password is empty; give one, or leave it out and one is made", field="password")
    clear = storable(password or secrets.token_urlsafe(PASSWORD_BYTES), field="password", longest=PASSWORD_LONGEST)
    return _ask(asking, Wish(JobKind.CHANGE_PASSWORD), Sealed(*vault.seal(clear)))


def reinstall(asking: Asking, *, os: str | None, confirm: str, reads: Reads, vault: Vault) -> Asked:
    """
    Wipe the disks and install again; *confirm* is the service's hostname. The key is needed.

    Raises:
        Invalid: the hostname does not agree, or the package does not offer the OS.
        NotFound, IllegalMove: as `suspend`.
    """
    services = reads.services(asking.external_ref, panel=asking.panel)
    if not services:
        raise NotFound(f"no service {asking.external_ref!r}")
    service = services[0]
    if service["kind"] == ServiceKind.COLOCATION:
        raise IllegalMove(f"service {asking.external_ref} is the customer's own machine; we install nothing on it")
    if not _names(confirm, service["hostname"]):
        raise Invalid(
            f"confirm {confirm!r} is not the service's hostname: a reinstall wipes its disks, so write the hostname",
            field="confirm",
        )
    template = os or service["os"]
    offered = service["os_allowed"]
    if template not in offered:
        raise Invalid(f"os {template!r} is not offered; choose one of {', '.join(offered)}", field="os")
    root = Sealed(*vault.seal(secrets.token_urlsafe(PASSWORD_BYTES)))
    return _ask(asking, Wish(JobKind.REINSTALL, {"os": template}), root)


def _names(confirm: str, ours: str) -> bool:
    try:
        return hostname(confirm) == ours
    except Invalid:
        return False


def power(asking: Asking, state: str) -> Asked:
    """Switch power on or off, or reboot, once; a reboot needs the key. Raises as `suspend`."""
    wanted = _one_of(state, POWER, "state")
    if wanted == "reboot":
        _need_key(asking, "a reboot")
    return _ask(asking, Wish(JobKind.POWER, {"state": wanted}))


def sync(asking: Asking) -> Asked:
    """Read the server whole, compare with what we hold, record; changes nothing there. Raises `NotFound`."""
    return _ask(asking, Wish(JobKind.SYNC))


def let_go(token: str, *, life: Life, waker: Waker, policies: Mapping[str, Policy]) -> int:
    """Let go what the blast guard holds of a token's wishes; returns how many. Safe to repeat."""
    count, due = life.let_go(f"{CALLER}{token}", policies=policies)
    waker.wake(due)
    waker.tick()
    return count


def drop(token: str, *, life: Life) -> int:
    """Cancel what the blast guard holds of a token's wishes; returns how many. Safe to repeat."""
    return life.drop(f"{CALLER}{token}")


def _ask(asking: Asking, wish: Wish, secret: Sealed | None = None) -> Asked:
    if wish.kind in NEED_KEY:
        _need_key(asking, f"{wish.kind}".replace("_", " "))
    if asking.key is not None:
        storable(asking.key, field="Idempotency-Key", longest=200)
    asked, due = asking.life.wish(
        asking.panel,
        asking.external_ref,
        wish,
        by=asking.by,
        key=asking.key,
        secret=secret,
        policies=asking.policies,
    )
    asking.waker.wake(due)
    asking.waker.tick()
    return asked


def _need_key(asking: Asking, what: str) -> None:
    if not asking.key:
        raise Invalid(
            f"{what} needs an Idempotency-Key: pressed twice it would be done twice; send one of your own",
            field="Idempotency-Key",
        )


def _one_of(text: str, known: tuple[str, ...], field: str) -> str:
    if text not in known:
        raise Invalid(f"{field} {text!r}: one of {', '.join(known)}", field=field)
    return text
