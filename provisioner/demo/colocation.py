"""The demo's third story: a place for a customer's own machine, opened and closed by a technician."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from provisioner.demo import mail
from provisioner.demo.client import Api
from provisioner.demo.life import WISH_SECONDS, ask, follow, ports
from provisioner.demo.patience import until
from provisioner.demo.promises import Promise
from provisioner.demo.scenario import CONNECTION
from provisioner.simulators.client import Control

REF, LOGIN, PACKAGE = "ord-1004", "erin", "rack-1u"
DEPARTMENT, HANDS = "hands", "hands@example.net"
LINK = re.compile(r"http://\S+/answer/\S+")


def play(
    admin: Api, billing: Api, control: Control, letters: Path, *, tend: Callable[[], None], say: Callable[[str], None]
) -> Iterator[Promise]:
    """Order, mount, suspend, resume, take out; look at the data centre after each."""
    technician = _Technician(letters, tend, say)
    admin.put(f"/v1/departments/{DEPARTMENT}", {"address": HANDS})
    admin.put(
        f"/v1/packages/{PACKAGE}",
        {"kind": "colocation", "department": DEPARTMENT, "connections": {CONNECTION: 0}},
    )
    job = billing.post("/v1/services", ORDER)["job"]
    link = technician.reads()
    yield Promise(f"{REF}: {HANDS} got a ticket with a link", bool(link), "no mail")
    server = control.add_server(owner=LOGIN, hostname="erin.example.net")
    refused = technician.answers(link, server="no-such-server")
    yield Promise(f"{REF}: a server that is not there is refused on the page", "no server" in refused, refused)
    technician.answers(link, server=str(server["id"]))
    done = follow(billing, job, tend)
    say(f"{REF}  open       {done['state']:<9} {done['sentence']}")
    service = billing.get(f"/v1/services/{REF}")
    held = service["state"] == "active" and (service["server"] or {}).get("server") == str(server["id"])
    yield Promise(f"{REF}: active on server {server['id']}, as the technician said", held, done["sentence"])
    for wish, on in (("suspend", False), ("resume", True)):
        done = ask(billing, REF, wish, tend)
        held = done["state"] == "succeeded" and ports(control.server(server["id"])) == [on] * len(ports(server))
        say(f"{REF}  {wish:<10} {done['state']:<9} {done['sentence']}")
        yield Promise(f"{REF}: {wish} switches its ports {'on' if on else 'off'}", held, done["sentence"])
    yield from _taken_out(billing, control, technician, server)


def _taken_out(billing: Api, control: Control, technician: _Technician, server: Mapping[str, Any]) -> Iterator[Promise]:
    job = billing.post(f"/v1/services/{REF}/close")["job"]
    link = technician.reads()
    control.change_server(server["id"], owner=None)
    technician.answers(link, done="1")
    done = follow(billing, job, technician.tend)
    technician.say(f"{REF}  close      {done['state']:<9} {done['sentence']}")
    state = billing.get(f"/v1/services/{REF}")["state"]
    held = state == "closed" and control.server(server["id"])["owner"] is None
    yield Promise(f"{REF}: closed once it was taken out", held, done["sentence"])


class _Technician:
    """Reads the mail to the department, and answers on the page behind its link."""

    def __init__(self, letters: Path, tend: Callable[[], None], say: Callable[[str], None]) -> None:
        self._letters, self.tend, self.say = letters, tend, say
        self._read: set[str] = set()

    def reads(self) -> str:
        """Wait for a letter with a link that was not read before; return the link, "" when none comes."""
        return until(self._newest, seconds=WISH_SECONDS, tend=self.tend)

    def _newest(self) -> str:
        for letter in mail.read(self._letters):
            found = LINK.search(letter.text)
            if letter.to == HANDS and found and letter.id not in self._read:
                self._read.add(letter.id)
                self.say(f"mail to {letter.to}: {letter.subject}")
                return found.group()
        return ""

    @staticmethod
    def answers(link: str, **fields: str) -> str:
        """Send the page's form; return the page."""
        parts = urlsplit(link)
        connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=10)
        try:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", parts.path, urlencode(fields), form)
            return connection.getresponse().read().decode()
        except (OSError, HTTPException) as error:
            return f"no answer: {error}"
        finally:
            connection.close()


ORDER = {
    "external_ref": REF,
    "package": PACKAGE,
    "customer": {"reference": "customer-erin", "login": LOGIN},
    "hostname": "erin.example.net",
    "equipment": "1U, two power supplies, one network port",
}
