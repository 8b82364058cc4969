"""May a server be sold, and if not, why; one rule for planning, listings and the auditor."""

from collections import Counter
from collections.abc import Iterable, Sequence

from provisioner.domain.naming import same_name
from provisioner.domain.server import FREE_MARKER, ListedServer, Power, ServerRef


def bars(server: ListedServer) -> list[str]:
    """
    Give the conditions that *server* fails, in words; empty when it may be sold.

    Source: ISPsystem wiki, "Integrating with DCImanager": no owner, not faulty, domain `free.ds`; the rest from
    the vendor's WHMCS module and `engine.md` §7. `disabled` does not bar: close disables, open enables.
    """
    if server.ill:
        return [server.ill]
    found = []
    if server.owner:
        found.append("it has an owner")
    if server.faulty:
        found.append("it is marked faulty")
    if not same_name(server.domain, FREE_MARKER):
        found.append(f"its domain is {server.domain or 'empty'}, not {FREE_MARKER}")
    if server.blocked:
        found.append("it is blocked")
    if server.diagnosing:
        found.append("diagnostics are running")
    if server.installing:
        found.append("an install is running")
    return found


def twins(servers: Sequence[ListedServer]) -> set[ServerRef]:
    """Give the free rows that share a MAC or a main address with an owned row: they are one machine."""
    barred: set[ServerRef] = set()
    for marks in ([(s.mac.lower(), s) for s in servers], [(s.ip, s) for s in servers]):
        count = Counter(mark for mark, _ in marks if mark)
        owned = {mark for mark, server in marks if server.owner and mark}
        barred |= {s.ref for mark, s in marks if count[mark] > 1 and mark in owned and not s.owner}
    return barred


def trouble(server: ListedServer) -> int:
    """Give how much speaks against taking *server* first; 0 for none."""
    return sum((server.power_error, server.operation_failed, server.power is Power.UNKNOWN))


def sentence(reasons: Iterable[str]) -> str:
    """Join reasons into one line."""
    return "; ".join(reasons)
