"""How much one caller may ask for within the hour before the rest is held: a billing system can go wrong; pure."""

from dataclasses import dataclass

from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind

CALLER = "token "  #: a caller over HTTP; what is typed by hand is not counted
SUSPENDS_LEAST = 10  #: of a small fleet a tenth would be nothing
HELD = "too much at once: "  #: how the reason of a job begins that the guard holds


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asked for within the hour, and how many services are active."""

    wipes: int  #: closes and reinstalls
    suspends: int
    active: int


def held(kind: JobKind, by: str, asked: Asked, spans: Spans) -> str:
    """Say why a wish of *kind* is held for a person; "" when it is not."""
    if not by.startswith(CALLER):
        return ""
    name = by.removeprefix(CALLER)
    if kind in (JobKind.CLOSE, JobKind.REINSTALL):
        return _sentence("closes and reinstalls", asked.wipes, spans.blast_closes, name)
    if kind is JobKind.SUSPEND:
        most = max(SUSPENDS_LEAST, int(asked.active * spans.blast_suspends))
        return _sentence("suspends", asked.suspends, most, name)
    return ""


def _sentence(what: str, asked: int, most: int, name: str) -> str:
    if asked < most:
        return ""
    return (
        f"{HELD}token {name} asked for more than {most} {what} within the hour; "
        f"`provisioner token release {name}` lets them go, `provisioner token drop {name}` cancels them"
    )
