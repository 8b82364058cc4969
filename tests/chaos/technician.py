"""The technician, played by the program: reads the letters to the department, mounts machines, answers, and errs."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from provisioner.demo import mail
from provisioner.errors import Overloaded
from provisioner.simulators.client import ControlError
from tests.chaos.town import HANDS, Place, Town

Json = Any
LINK = re.compile(r"http://\S+/answer/\S+")
USER = re.compile(r"<dd>([^<\s]+) \([0-9]+\)</dd>")  #: whom the machine is to be given to
REF = re.compile(r"ord-[0-9]+-[0-9]+")
#: how a technician is: as asked, answers twice, errs first, or comes when the order may be withdrawn already
PLAIN, TWICE, WRONG_FIRST, LATE = "plain", "twice", "wrong first", "late"
MANNERS = (PLAIN, TWICE, WRONG_FIRST, LATE)
EVERY = 1.0  #: seconds between two looks into the letters, and two tries of one answer
OVER = ("failed", "closed")
STATES = "SELECT external_ref, state FROM service WHERE kind = 'colocation'"


@dataclass
class Letter:
    """What a letter asks for, and when this technician gets to it."""

    link: str
    ref: str
    due: float
    manner: str
    erred: bool = False


@dataclass
class Technician:
    """Works off letters; what was heard that must not be heard is in `misheard`."""

    town: Town
    seed: int
    tell: Callable[[str], None]
    clock: Callable[[], float]
    machines: dict[str, tuple[Place, str]] = field(default_factory=dict)  #: order → machine, also one taken out
    standing: set[str] = field(default_factory=set)  #: orders whose machine stands in its rack
    letters: list[Letter] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  #: by what came of it
    misheard: list[str] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)
    _next: float = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether there is a letter that was not worked off."""
        return bool(self.letters)

    def work(self) -> None:
        """Do what is due; what can't be done now is tried again."""
        now = self.clock()
        if now < self._next:
            return
        self._next = now + EVERY
        self._fetch(now)
        for letter in [one for one in self.letters if one.due <= now]:
            try:
                done = self._obey(letter)
            except ControlError as error:
                self.tell(f"         technician, {letter.ref}: {error}")
                done = False
            if done:
                self.letters.remove(letter)
        self._tidy()

    def _fetch(self, now: float) -> None:
        for found in mail.read(self.town.mail, after=self._read):
            self._read.add(found.file.name)
            link, ref = LINK.search(found.text), REF.search(f"{found.subject} {found.text}")
            if found.to == HANDS and link and ref:
                draw = random.Random(f"{self.seed}|{ref[0]}|{'take' in found.subject}")
                manner = MANNERS[draw.randrange(len(MANNERS))]
                delay = draw.uniform(10, 20) if manner == LATE else draw.uniform(0.5, 6)
                self.letters.append(Letter(link[0], ref[0], now + delay, manner))

    def _obey(self, letter: Letter) -> bool:
        service = self.town.call("GET", f"/v1/services/{letter.ref}")
        if service is None:
            return False
        page = self._ask("GET", letter.link)
        if page.gone:
            self.answered["came too late"] += 1
            return True
        if not page.form:
            return False
        if page.placing:
            return self._mount(letter, service, page)
        return self._unmount(letter)

    def _mount(self, letter: Letter, service: Json, page: Page) -> bool:
        customer = USER.search(page.text)
        login = customer[1] if customer else ""
        if letter.ref not in self.standing:
            place = next(one for one in self.town.places if service["package"].endswith(one.name))
            made = place.control.add_server(owner=login, hostname=service["hostname"], disabled=False)
            cabled = [{"id": link["id"], "on": True} for link in made["links"] if link["type"] == "Switch"]
            place.control.change_server(made["id"], links=cabled)
            self.machines[letter.ref] = (place, str(made["id"]))
            self.standing.add(letter.ref)
        place, machine = self.machines[letter.ref]
        if letter.manner == WRONG_FIRST and not letter.erred:
            letter.erred = True
            for wrong in ("no-such-server", self._anothers(place, login)):
                self._must_not_take(letter, "a wrong server", server=wrong)
        return self._say(letter, server=machine)

    def _unmount(self, letter: Letter) -> bool:
        place, machine = self.machines[letter.ref]
        if letter.ref in self.standing:
            if letter.manner == WRONG_FIRST and not letter.erred:
                letter.erred = True
                self._must_not_take(letter, "done, and it was not", done="1")
            if letter.manner == TWICE:
                place.control.change_server(machine, owner=None)
            else:
                self._take_out(letter.ref)
        return self._say(letter, done="1")

    def _say(self, letter: Letter, **form: str) -> bool:
        """Give an answer that is right; False while it is not taken."""
        page = self._ask("POST", letter.link, form)
        if page.taken and letter.manner == TWICE:
            self._must_not_take(letter, "a second answer", **form)
        if page.taken or page.gone:
            self.answered["taken" if page.taken else "not wanted any more"] += 1
        return page.taken or page.gone

    def _must_not_take(self, letter: Letter, what: str, **form: str) -> None:
        page = self._ask("POST", letter.link, form)
        self.answered[f"{what}: {page.status or 'no answer'}"] += 1
        if page.taken:
            self.misheard.append(f"{letter.ref}: {what} was taken: {form}")

    def _anothers(self, place: Place, login: str) -> str:
        """Give a server that is not this customer's."""
        return next(str(one["id"]) for one in place.control.servers() if one["owner"] != login)

    def _tidy(self) -> None:
        """Take out the machines of those whose order came to nothing, or is over."""
        try:
            rows = self.town.database.rows(STATES) if self.standing else []
        except Overloaded:
            self.town.database.close()
            return
        for row in rows:
            if row["state"] in OVER and row["external_ref"] in self.standing:
                self._take_out(row["external_ref"])

    def _take_out(self, ref: str) -> None:
        place, machine = self.machines[ref]
        place.control.remove_server(machine)
        self.standing.discard(ref)

    def _ask(self, method: str, link: str, form: Mapping[str, str] | None = None) -> Page:
        parts = urlsplit(link)
        connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=10)
        try:
            body = urlencode(form) if form is not None else None
            connection.request(method, parts.path, body, {"Content-Type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            return Page(answer.status, answer.read().decode())
        except (OSError, HTTPException):
            return Page(0, "")
        finally:
            connection.close()


@dataclass(frozen=True)
class Page:
    """What the page behind a link said."""

    status: int  #: 0: no answer
    text: str

    @property
    def taken(self) -> bool:
        return self.status == HTTPStatus.OK and not self.form

    @property
    def gone(self) -> bool:
        return self.status == HTTPStatus.GONE

    @property
    def form(self) -> bool:
        return "<form" in self.text

    @property
    def placing(self) -> bool:
        return 'name="server"' in self.text
