"""The server has the addresses that its package promises; one address row is added or deleted a touch."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, AddressesRead, Done, Failed, Look, More, NotBegun
from provisioner.domain.server import FREE_MARKER, AddressRow, Family, RowRef, ServerReading
from provisioner.errors import FailureClass, NoSuchObject
from provisioner.steps.base import StepContext, not_ours, unsettled


class DropAddresses:
    """Undo of `AssignAddress`: delete every row that was not there before it first acted."""

    name = "drop_addresses"
    policy = Policy(settle=timedelta(seconds=15))

    def check(self, ctx: StepContext) -> Look:
        """Read the rows; name the next one that is not of the server's own."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        own = set(ctx.row.undone.get("first", {}).get("rows", ()))
        foreign = [row for row in reading.addresses if row.ref not in own]
        extra = [row for row in foreign if not row.main]  # the DCIM never deletes the main address
        named = [row for row in foreign if row.main and not same_name(row.domain, FREE_MARKER)]
        if not extra and named:
            memo = {"free": named[0].ref}
            return More(memo, "the main address stays") if ctx.row.before.get("row") else NotBegun(memo)
        if not extra:
            return unsettled(ctx) or Done("no address beyond the server's own")
        memo = {"row": extra[0].ref}
        if ctx.row.acted_at is not None and ctx.row.before.get("row") not in {row.ref for row in extra}:
            return More(memo, f"{len(extra)} addresses to go")
        return NotBegun(memo)

    def do(self, ctx: StepContext) -> Acted:
        """Delete the remembered row; one that is gone already counts. A main row is marked as free instead."""
        if "free" in ctx.row.before:
            ctx.driver.set_domain(ctx.server, RowRef(ctx.row.before["free"]), FREE_MARKER)
            return Acted()
        return _delete(ctx)


class AssignAddress:
    """
    Take addresses until the package's counts are met; a row that appears late and is too many is dropped.

    Adding is not repeatable in the DCIM: the rows that were there before each act are in the memo.
    """

    name = "address"
    policy = Policy(settle=timedelta(seconds=30), undo=DropAddresses.name, exhausted=FailureClass.SITE)

    def check(self, ctx: StepContext) -> Look:
        """Read the rows, compare with the promise, name the next act."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        rows = [row.ref for row in reading.addresses]
        added = [row for row in reading.addresses if row.ref not in ctx.row.before.get("rows", rows)]
        if conflict := self._conflict(ctx, added):
            return conflict
        memo = self._next(ctx, reading)
        if memo is None:
            return Done(f"{len(rows)} addresses, as promised", (AddressesRead(reading.addresses),))
        memo["rows"] = rows
        if ctx.row.acted_at is not None and _took_effect(ctx, reading):
            return More(memo, f"{len(rows)} addresses so far", (AddressesRead(reading.addresses),))
        return NotBegun(memo)

    def _next(self, ctx: StepContext, reading: ServerReading) -> dict[str, object] | None:
        """Give the next act: a row to name, one to drop, or a family to add; None when all is as promised."""
        own = ctx.row.first.get("rows", [row.ref for row in reading.addresses])
        for row in reading.addresses:
            if row.ref not in own and not same_name(row.domain, ctx.order.hostname):
                return {"name": row.ref}
        for family, wanted in ((Family.IPV4, ctx.package.ipv4), (Family.IPV6, ctx.package.ipv6)):
            have = [row for row in reading.addresses if row.family is family]
            surplus = [row for row in have if row.ref not in own and not row.main]
            if len(have) < wanted:
                return {"add": family.value}
            if len(have) > wanted and surplus:
                return {"row": surplus[-1].ref}
        return None

    def _conflict(self, ctx: StepContext, added: list[AddressRow]) -> Failed | None:
        """Refuse a new address that already answers: it is in use somewhere, and to blame, not the server."""
        for row in added:
            if row.family is Family.IPV4 and ctx.prober.answers(row.ip, ctx.package.probe):
                return Failed(
                    FailureClass.SITE,
                    f"address {row.ip} from the pool answers already: it is in use",
                )
        return None

    def do(self, ctx: StepContext) -> Acted:
        """Carry out the one act that the memo names."""
        before = ctx.row.before
        if "name" in before:
            ctx.driver.set_domain(ctx.server, RowRef(before["name"]), ctx.order.hostname)
            return Acted()
        if "row" in before:
            return _delete(ctx)
        row = ctx.driver.add_address(ctx.server, Family(before["add"]), ctx.order.hostname)
        return Acted({"row": row.ref, "ip": row.ip})


def _took_effect(ctx: StepContext, reading: ServerReading) -> bool:
    """Say whether the act of the memo is visible."""
    before = ctx.row.before
    refs = {row.ref for row in reading.addresses}
    if "name" in before:
        named = next((row for row in reading.addresses if row.ref == before["name"]), None)
        return named is None or same_name(named.domain, ctx.order.hostname)
    if "row" in before:
        return before["row"] not in refs
    return bool(refs - set(before.get("rows", ())))


def _delete(ctx: StepContext) -> Acted:
    try:
        ctx.driver.delete_address(ctx.server, RowRef(ctx.row.before["row"]))
    except NoSuchObject:
        return Acted({"gone": True})
    return Acted()
