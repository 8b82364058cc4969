"""The foreign hand: changes any fact of a server at once, as a technician or another client might."""

import copy
from collections.abc import Callable, Mapping
from functools import partial

from provisioner.simulators import fleet
from provisioner.simulators.model import Server
from provisioner.simulators.world import World

STALE_FLAGS = ("operation_failed", "install_in_progress", "powererror", "link_in_progress")
_POWER = {"on": True, "off": False, None: None, True: True, False: False}


def apply(world: World, server: Server, facts: Mapping[str, object]) -> None:
    """
    Make *facts* true on *server*, in the order given.

    Raises:
        ValueError: an unknown fact, or a value that cannot be; earlier facts are already true.
    """
    for name, value in facts.items():
        if name not in _FACTS:
            message = f"a server has no fact {name!r}; it knows {', '.join(sorted(_FACTS))}"
            raise ValueError(message)
        _FACTS[name](world, server, value)
    world.touch()


def check(world: World, facts: Mapping[str, object]) -> None:
    """
    Try *facts* on a copy of some server.

    Raises:
        ValueError: as `apply` would.
    """
    trial = copy.deepcopy(world)
    server = next(iter(trial.servers.values()), None)
    if server is not None:
        apply(trial, server, {name: value for name, value in facts.items() if name != "links"})


def stale(world: World, server: Server, flags: list[str]) -> None:
    """Raise *flags* with nothing behind them; the next operation clears some, nobody the others."""
    for flag in flags:
        if flag == "link_in_progress":
            for link in server.links:
                link.in_progress = link.in_progress or link.type == "Switch"
        else:
            setattr(server, flag, True)
    world.touch()


def _text(field: str, _world: World, server: Server, value: object) -> None:
    setattr(server, field, "" if value is None else str(value))


def _flag(field: str, _world: World, server: Server, value: object) -> None:
    if not isinstance(value, bool):
        message = f"{field}: true or false expected, not {value!r}"
        raise ValueError(message)  # noqa: TRY004 - one error for every ill fact
    setattr(server, field, value)


def _host_flag(field: str, _world: World, server: Server, value: object) -> None:
    setattr(server.host, field, bool(value))


def _owner(world: World, server: Server, value: object) -> None:
    owner = None
    if value not in (None, "", "no_owner"):
        user = world.users.get(str(value)) or world.user_named(str(value))
        if user is None:
            message = f"no user {value!r} to own {server.name}"
            raise ValueError(message)
        owner = user.id
    if owner != server.owner:
        server.owners.append(server.owner)
    server.owner = owner


def _power(_world: World, server: Server, value: object) -> None:
    if not (value is None or isinstance(value, bool | str)) or value not in _POWER:
        message = f"power: on, off or null expected, not {value!r}"
        raise ValueError(message)
    server.power = _POWER[value]
    if server.power is False:
        server.host.up = False


def _domain(_world: World, server: Server, value: object) -> None:
    server.bare_domain = str(value)
    for row in server.addresses:
        row.domain = str(value)


def _ip(_world: World, server: Server, value: object) -> None:
    if server.main is not None:
        server.main.ip = "" if value is None else str(value)


def _template(_world: World, server: Server, value: object) -> None:
    """Put a system on the disks as if it had been installed long ago."""
    server.template = "" if value is None else str(value)
    server.host.key += 1
    server.host.up = bool(server.template) and server.power is True


def _links(_world: World, server: Server, value: object) -> None:
    wanted = value if isinstance(value, list) else []
    for item in wanted:
        link_id = item.get("id") if isinstance(item, Mapping) else item
        link = next((row for row in server.links if row.id == str(link_id)), None)
        if link is None or not isinstance(item, Mapping):
            message = f"{server.name} has no link {link_id!r}"
            raise ValueError(message)
        for name in set(item) - {"id"}:
            if name not in ("on", "in_progress", "dead", "bmc", "descr", "type"):
                message = f"a link has no fact {name!r}"
                raise ValueError(message)
            setattr(link, name, item[name])


def _add_link(world: World, server: Server, value: object) -> None:
    item = value if isinstance(value, Mapping) else {}
    kind, descr = str(item.get("type", "Switch")), str(item.get("descr", ""))
    fleet.add_link(world, server, kind, descr, bmc=bool(item.get("bmc")))


def _add_alias(world: World, server: Server, value: object) -> None:
    fleet.add_alias(world, server, str(value or "ipv4"))


def _group_row(world: World, server: Server, value: object) -> None:
    row = fleet.add_alias(world, server)
    row.group, row.kind, row.ip = True, "group", str(value)


_FACTS: dict[str, Callable[[World, Server, object], None]] = {
    "owner": _owner,
    "power": _power,
    "domain": _domain,
    "hostname": _domain,
    "ip": _ip,
    "template": _template,
    "links": _links,
    "add_link": _add_link,
    "add_alias": _add_alias,
    "add_group_row": _group_row,
}
_FACTS |= {name: partial(_text, name) for name in ("name", "mac", "type", "notes", "unit")}
_FACTS |= {
    name: partial(_flag, name)
    for name in (
        "disabled",
        "blocked",
        "hwproblem",
        "powererror",
        "diag_in_progress",
        "install_in_progress",
        "operation_failed",
    )
}
_FACTS |= {f"host_{name}": partial(_host_flag, name) for name in ("up", "silent", "flapping")}
