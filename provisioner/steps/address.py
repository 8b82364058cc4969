"""The server has the addresses that its package promises; one address row is added or deleted a touch."""

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, AddressesRead, Done, Failed, Look, NotBegun
from provisioner.domain.server import FREE_MARKER, AddressRow, Family, RowRef, ServerReading
from provisioner.domain.service import Package
from provisioner.errors import FailureClass, NoSuchObject
from provisioner.steps.base import StepContext, next_act, not_ours, unsettled


def promised(package: Package) -> tuple[tuple[Family, int], ...]:
    """Give how many addresses of each family must be there when the install begins; empty where none must."""
    if not package.address_before_install:
        return ()
    return ((Family.IPV4, package.ipv4), (Family.IPV6, package.ipv6))


class DropAddresses:
    """
    Undo of `AssignAddress`: delete every row that was not there before it first acted.

    The main address is never deleted in the DCIM: one that came with us stays, and is marked as a free server's.
    """

    name = "drop_addresses"
    policy = Policy(skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read the rows; name the next act on one that is not of the server's own."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        due = self._due(ctx, reading)
        if not due:
            return unsettled(ctx) or Done("no address beyond the server's own")
        proven = dict(ctx.row.before) not in due
        return next_act(ctx, due[0], f"{len(due)} addresses to go", proven=proven)

    def _due(self, ctx: StepContext, reading: ServerReading) -> list[dict[str, RowRef]]:
        """Give all acts that are due: rows to delete, then a main row to name."""
        own = set(ctx.row.undone.get("first", {}).get("rows", ()))
        ours = [row for row in reading.addresses if row.ref not in own]
        named = [row for row in ours if row.main and not same_name(row.domain, FREE_MARKER)]
        return [*({"row": row.ref} for row in ours if not row.main), *({"name": row.ref} for row in named)]

    def do(self, ctx: StepContext) -> Acted:
        """Carry out the one act that the memo names."""
        return _name(ctx, FREE_MARKER) if "name" in ctx.row.before else _delete(ctx)


class AssignAddress:
    """
    Take addresses until the package's counts are met; a row that appears late and is too many is dropped.

    Adding is not repeatable in the DCIM: the rows that were there before each act are in the memo.
    """

    name = "address"
    policy = Policy(undo=DropAddresses.name, exhausted=FailureClass.SITE)

    def check(self, ctx: StepContext) -> Look:
        """Read the rows, compare with the promise, name the next act."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        if not promised(ctx.package):
            return Done("the package asks for no address before the install")
        rows = [row.ref for row in reading.addresses]
        added = [row for row in reading.addresses if row.ref not in ctx.row.before.get("rows", rows)]
        if conflict := self._conflict(ctx, added):
            return conflict
        memo = self._next(ctx, reading)
        if memo is None:
            return Done(f"{len(rows)} addresses, as promised", (AddressesRead(reading.addresses),))
        memo["rows"] = rows
        read = (AddressesRead(reading.addresses),)
        proven = _took_effect(ctx, reading)
        return next_act(ctx, memo, f"{len(rows)} addresses so far", proven=proven, records=read)

    def _next(self, ctx: StepContext, reading: ServerReading) -> dict[str, object] | None:
        """Give the next act: a row to name, one to drop, or a family to add; None when all is as promised."""
        own = ctx.row.first.get("rows", [row.ref for row in reading.addresses])
        for row in reading.addresses:
            if row.ref not in own and not same_name(row.domain, ctx.order.hostname):
                return {"name": row.ref}
        for family, wanted in promised(ctx.package):
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
            return _name(ctx, ctx.order.hostname)
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


def _name(ctx: StepContext, domain: str) -> Acted:
    """Give the remembered row its domain."""
    ctx.driver.set_domain(ctx.server, RowRef(ctx.row.before["name"]), domain)
    return Acted()


def _delete(ctx: StepContext) -> Acted:
    """Delete the remembered row; one that is gone already counts."""
    try:
        ctx.driver.delete_address(ctx.server, RowRef(ctx.row.before["row"]))
    except NoSuchObject:
        return Acted({"gone": True})
    return Acted()


class AddAddress:
    """
    Take as many more addresses of one family as the job asks for, each with the service's host name.

    Adding is not repeatable in the DCIM: the rows that were there before each act are in the memo, and what a lost
    reply left is counted, not asked for again. Undone by `DropAddresses`, which spares what was there first.
    """

    name = "add_address"
    policy = Policy(undo=DropAddresses.name, exhausted=FailureClass.SITE, skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Compare with the rows of before; name the next act."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        own = set(ctx.row.first.get("rows", [row.ref for row in reading.addresses]))
        fresh = [row for row in reading.addresses if row.ref not in own]
        memo = self._next(ctx, fresh)
        read = (AddressesRead(reading.addresses),)
        if memo is None:
            return Done(f"{len(fresh)} more: {', '.join(row.ip for row in fresh)}", read)
        memo["rows"] = [row.ref for row in reading.addresses]
        proven = _took_effect(ctx, reading)
        return next_act(ctx, memo, f"{len(fresh)} addresses so far", proven=proven, records=read)

    def _next(self, ctx: StepContext, fresh: list[AddressRow]) -> dict[str, object] | None:
        """Give the next act: a new row to name, one too many to drop, or one more to take."""
        family, wanted = Family(ctx.params["family"]), int(ctx.params["count"])
        unnamed = next((row for row in fresh if not same_name(row.domain, ctx.order.hostname)), None)
        if unnamed is not None:
            return {"name": unnamed.ref}
        have = [row for row in fresh if row.family is family]
        if len(have) < wanted:
            return {"add": family.value}
        if len(have) > wanted:
            return {"row": have[-1].ref}
        return None

    def do(self, ctx: StepContext) -> Acted:
        """Carry out the one act that the memo names."""
        before = ctx.row.before
        if "name" in before:
            return _name(ctx, ctx.order.hostname)
        if "row" in before:
            return _delete(ctx)
        row = ctx.driver.add_address(ctx.server, Family(before["add"]), ctx.order.hostname)
        return Acted({"row": row.ref, "ip": row.ip})


class DeleteAddress:
    """Delete one address; one that is gone already is done. The main address stays for as long as the service does."""

    name = "delete_address"
    policy = Policy(skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Look for the address among the rows."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        row = next((row for row in reading.addresses if row.ip == ctx.params["ip"]), None)
        if row is None:
            return Done(f"{ctx.params['ip']} is gone", (AddressesRead(reading.addresses),))
        if row.main:
            return Failed(FailureClass.INPUT, f"{row.ip} is the server's main address; it stays")
        return NotBegun({"row": row.ref})

    def do(self, ctx: StepContext) -> Acted:
        """Delete the row that the look found."""
        return _delete(ctx)
