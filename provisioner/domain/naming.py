"""Names that we make or take: panel logins, hostnames, tasks, and texts that a database can hold."""

import re
import unicodedata

from provisioner.domain.server import FREE_MARKER
from provisioner.errors import Invalid

LOGIN_LENGTH = 16  #: longest login that the DCIM takes
SYSTEM_LOGINS = frozenset(
    {
        "root", "admin", "administrator", "daemon", "bin", "sys", "sync", "mail", "news", "proxy", "backup",
        "nobody", "postgres", "mysql", "www", "www-data", "operator", "support", "system", "no_owner",
    }
)  # fmt: skip
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
HOSTNAME_LENGTH = 253
#: a service's reference at billing, as it may stand in an address of the API
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._:@+=,-]{0,99}$"


def storable(text: str, *, field: str, longest: int = 1000) -> str:
    """
    Give *text* if PostgreSQL can hold it and it is not longer than *longest* characters.

    Raises:
        Invalid: NUL, a lone surrogate, or too long.
    """
    if "\x00" in text:
        raise Invalid(f"{field} holds a NUL character; remove it", field=field)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(f"{field} holds half of a surrogate pair; send valid Unicode", field=field) from None
    if len(text) > longest:
        raise Invalid(f"{field} has {len(text)} characters; at most {longest} are taken", field=field)
    return text


def panel_login(wish: str, *, taken: frozenset[str] = frozenset(), system: frozenset[str] = frozenset()) -> str:
    """
    Make a DCIM login of a customer's: special characters removed, at most 16 characters, none of *taken*.

    A clash gets a number at its end. Source: ISPsystem wiki, "Integrating with DCImanager".

    Raises:
        Invalid: nothing is left, or a system's name is.
    """
    plain = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]", "", plain)[:LOGIN_LENGTH]
    if not stem:
        raise Invalid(
            f"login {wish!r} has no letter or digit left for a DCIM user; choose another",
            field="login",
        )
    if stem in SYSTEM_LOGINS or stem in system:
        raise Invalid(f"login {wish!r} becomes {stem!r}, a name of the system; choose another", field="login")
    if stem not in taken:
        return stem
    for number in range(2, 1000):
        tail = str(number)
        login = stem[: LOGIN_LENGTH - len(tail)] + tail
        if login not in taken:
            return login
    raise Invalid(f"login {wish!r}: a thousand users have that name already; choose another", field="login")


def hostname(text: str) -> str:
    """
    Give the one stored form of a host name: lower case, no final dot, IDN as `xn--`.

    Raises:
        Invalid: not a host name, or the marker of free servers in any spelling.
    """
    storable(text, field="hostname", longest=HOSTNAME_LENGTH + 1)
    plain = text.strip().rstrip(".").lower() if text.isascii() else text.strip().rstrip(".。").lower()
    try:
        ascii_name = plain if plain.isascii() else plain.encode("idna").decode().lower()
    except UnicodeError:
        raise Invalid(f"hostname {text!r} can't be written as an internationalised name", field="hostname") from None
    if ascii_name == FREE_MARKER:
        raise Invalid(f"hostname {FREE_MARKER} marks free servers; choose another", field="hostname")
    labels = ascii_name.split(".")
    if len(labels) < 2 or len(ascii_name) > HOSTNAME_LENGTH or not all(_LABEL.match(label) for label in labels):  # noqa: PLR2004 - a name and a domain
        raise Invalid(
            f"hostname {text!r} is not a full host name: letters, digits and hyphens, like srv1.example.net",
            field="hostname",
        )
    if labels[-1].isdigit():
        raise Invalid(f"hostname {text!r} looks like an address; give a name", field="hostname")
    return ascii_name


def same_name(one: str, other: str) -> bool:
    """Compare two host names as DNS does: without case and final dot."""
    return one.rstrip(".").lower() == other.rstrip(".").lower()


def task_id(job: int, order: str, server: str, attempt: int, *, label: str, sends: int) -> str:
    """Give a message's id, the job's first: `1043.ord-77.101.a1.06_install_os`, `.2` for a second send."""
    again = f".{sends}" if sends > 1 else ""
    return f"{job}.{plain_id(order)}.{plain_id(server)}.a{attempt}.{label}{again}"


def plain_id(text: str) -> str:
    """Give *text* with only what is safe in a task id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:40] or "-"
