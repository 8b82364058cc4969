"""
Runs cells of `people.py`: real store, use-cases, steps, driver and wires; a simulated panel, a Request Tracker, mail.

Spans are those of production, scaled. A person reads the desk's own books and answers by the link that stands there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any

from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.http import Caller
from provisioner.errors import NotFound, ProvisionerError
from provisioner.ports import Asking, Questions, Wakeup
from provisioner.simulators import Simulator
from provisioner.store.endpoints import EndpointLoader
from provisioner.usecases import operate, tell
from provisioner.usecases.answer import PATH, answer, link_token, of_link
from tests.fakes import mail
from tests.fakes.lossy import Line
from tests.fakes.rt import FakeTracker, Queue, Ticket
from tests.faults.people import DESKS, Came, Cell
from tests.faults.runner import OwnDrivers
from tests.site import SHORT, Site

TOKEN = "1-27-planted0123456789"
#: desk → who is asked there, and who is told what goes wrong; the administrator is never at the desk that fails
HANDS = {"rt": "DC 1 hands", "email": "hands@example.net"}
ONCALL = {"rt": "DC 1 on call", "email": "oncall@example.net"}
OTHER = {"rt": "email", "email": "rt"}
LINK = re.compile(rf"https://answers\.example\.net{PATH}(\S+)")
#: a message is tried again after 20 ms and then ever later: an hour of production's distances is a second and a half
SPANS = replace(SHORT, call=5.0, soft=20.0, hard=25.0, lease=30.0, probe=0.1, tell_again=0.02, tell_gather=0.001)
REMIND = 0.3  #: seconds after which an open ticket is said again, where that is the matter
NEWEST = "SELECT tries, sent_at FROM delivery WHERE n = %(n)s ORDER BY id DESC LIMIT 1"
LIMIT = 90.0  #: seconds until a cell that finds no end is red
ASKED_TWICE = 2  #: messages with a link, where the first answer was not true any more
REMINDED = 2  #: messages of an open ticket that was said again
DOUBLED = 2  #: tries of a message whose first answer was lost
AT_ONCE = 30.0  #: seconds that one of two may wait for the other


@dataclass
class Hall:
    """The outside of one cell: a panel, a tracker behind a line that may lose an answer, a mail server."""

    panel: Simulator
    tracker: FakeTracker
    line: Line
    mail: mail.MailServer
    _up: dict[str, ExitStack] = field(default_factory=dict)

    def raise_desk(self, desk: str) -> None:
        """Let a desk listen."""
        stack = self._up[desk] = ExitStack()
        if desk == "rt":
            stack.enter_context(self.tracker.up())
            self.line.behind = self.tracker.port
        else:
            stack.enter_context(self.mail.up())

    def fell_desk(self, desk: str) -> None:
        """Let nobody listen there. Repeatable."""
        self._up.pop(desk, ExitStack()).close()


@contextmanager
def hall() -> Iterator[Hall]:
    """Have all of it inside."""
    tracker, server = FakeTracker(TOKEN, [Queue(HANDS["rt"]), Queue(ONCALL["rt"])]), mail.MailServer()
    with Simulator(servers=0, admin_password="secret") as panel, Line(0).up() as line:
        made = Hall(panel, tracker, line, server)
        try:
            for desk in DESKS:
                made.raise_desk(desk)
            yield made
        finally:
            for desk in DESKS:
                made.fell_desk(desk)


class Asked(Site):
    """One cell under way: an order for a place, its ticket, and those who answer."""

    def __init__(self, url: str, cell: Cell, around: Hall) -> None:
        spans = replace(SPANS, tell_remind=REMIND) if cell.fault == "after_reminder" else SPANS
        super().__init__(url, spans=spans, scale=0.01, pool_size=6)
        self.cell, self.around = cell, around
        self.control = around.panel.control
        self.senders = 0
        self.said: list[str] = []
        self.named = ""
        self.placed = 0  #: the job
        self.closing = False
        self.books = Came()  #: as they were when it was asked for

    def run_cell(self) -> Came:
        """Bring the cell to its end."""
        self._set_up()
        self.placed = self.order(package="rack", os="", equipment="1U").job_id
        if self.cell.job == "close":
            self._close()
        getattr(self, f"_{self.cell.fault}")()
        self.run(self._over, seconds=LIMIT)
        return self._came()

    # --- the faults -----------------------------------------------------------------------------------------------

    def _desk_down(self) -> None:
        self._fell()
        asking = self._asked()
        self.run(self._stuck, seconds=LIMIT)
        self._raise()
        self._answer(self._link(), self._ready(asking))

    def _desk_down_all_along(self) -> None:
        self._fell()
        asking = self._asked()
        self.run(self._stuck, seconds=LIMIT)
        self._answer(asking, self._ready(asking))
        self.run(self.ended(self.placed), seconds=LIMIT)
        self._raise()

    def _desk_down_at_end(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._fell()
        self._answer(link, server)
        self.run(self.ended(self.placed), seconds=LIMIT)
        self._raise()

    def _reply_lost(self) -> None:
        self._lose()
        asking = self._asked()
        self.run(lambda: self._tries(1) >= DOUBLED, seconds=LIMIT)
        self._answer(self._link(), self._ready(asking))

    def _end_reply_lost(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._lose()
        self._answer(link, server)
        self.run(lambda: self._tries(2) >= DOUBLED, seconds=LIMIT)

    def _lose(self) -> None:
        """Lose the desk's answer to the next message, which it takes."""
        lost: list[EmailMessage] = []

        def once(message: EmailMessage) -> str | None:
            lost.append(message)
            return None if len(lost) == 1 else "250 taken"

        if self.cell.desk == "rt":
            self.around.line.lose()
        else:
            self.around.mail.answer = once

    def _tries(self, n: int) -> int:
        """Give how often message *n* was handed over until it was taken, 0 while it is not."""
        found = self.database.row(NEWEST, n=n)
        return found["tries"] if found and found["sent_at"] else 0

    def _twice(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._answer(link, server)
        self._answer(link, server)

    def _twice_at_once(self) -> None:
        asking = self._asked()
        server = self._ready(asking)
        self._at_once(
            lambda meet: self._answer(asking, server, meanwhile=meet),
            lambda meet: self._answer(asking, server, by="boris", meanwhile=meet),
        )

    def _two_answers_at_once(self) -> None:
        asking = self._asked()
        one, other = self._ready(asking), self._ready(asking)
        self._at_once(
            lambda meet: self._answer(asking, one, meanwhile=meet),
            lambda meet: self._answer(asking, other, by="boris", meanwhile=meet),
        )

    def _after_cancel(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._cancel()
        self.run(self.ended(self.placed), seconds=LIMIT)
        self._answer(link, server)

    def _cancel_at_once(self) -> None:
        asking = self._asked()
        server = self._ready(asking)
        self._link()
        self._at_once(lambda meet: self._answer(asking, server, meanwhile=meet), self._cancel)

    def _cancel_overtakes(self) -> None:
        asking = self._asked()
        server = self._ready(asking)
        self._link()
        self._answer(asking, server, meanwhile=self._cancel)

    def _cancel_follows(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._answer(link, server)
        self._cancel()

    def _after_deadline(self) -> None:
        for step in ("ask_placed", "ask_removed"):
            self.policies[step] = replace(self.policies[step], deadline=timedelta(seconds=0.05))
        asking = self._asked()
        self.run(lambda: bool(self._heard()), seconds=LIMIT)
        self._answer(self._link(), self._ready(asking))

    def _after_reminder(self) -> None:
        asking = self._asked()
        self.run(lambda: len(self._links()) >= REMINDED, seconds=LIMIT)
        self._answer(self._links()[-1], self._ready(asking))

    def _wrong_then_right(self) -> None:
        asking = self._asked()
        self.control.add_user("somebody", "simulated-password")
        theirs = str(self.control.add_server(owner="somebody")["id"])
        for server in [""] if self.closing else ["999", theirs]:
            self._answer(self._link(), server)
            assert self.questions.of_job(self.placed).open
        self._answer(self._link(), self._ready(asking))

    def _untrue_by_then(self) -> None:
        asking = self._asked()
        server, link = self._ready(asking), self._link()
        self._answer(link, server)
        self._give(asking, asking.login if self.closing else None, server)
        asking = self._asked()
        self.run(lambda: len(self._links()) == ASKED_TWICE, seconds=LIMIT)
        self._give(asking, None if self.closing else asking.login, server)
        self._answer(self._links()[-1], server)

    def _panel_away(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self.control.stop_panel()
        self._answer(link, server)
        self.control.start_panel()
        self._answer(link, server)

    def _panel_away_after(self) -> None:
        server, link = self._ready(self._asked()), self._link()
        self._answer(link, server)
        self.control.stop_panel()
        self.run(lambda: bool(self._heard()), seconds=LIMIT)
        assert self.job(self.placed)["state"] == "running"
        self.control.start_panel()

    # --- people ---------------------------------------------------------------------------------------------------

    def _link(self) -> str:
        """Wait until the desk has a ticket with a link, and give what the link carries."""
        self.run(lambda: bool(self._links()), seconds=LIMIT)
        return self._links()[0]

    def _links(self) -> list[str]:
        texts = [content for ticket in self._tickets(HANDS) for _, _, content in ticket.messages]
        texts += [mail.text(one) for one in self._mails(HANDS)]
        return [found[1] for text in texts if (found := LINK.search(text))]

    def _ready(self, asking: Asking) -> str:
        """Do what the technician does: a machine is in its rack, and the customer's; or it is not any more."""
        if self.closing:
            self._give(asking, None)
            return ""
        return str(self.control.add_server(owner=asking.login)["id"])

    def _give(self, asking: Asking, owner: str | None, server: str = "") -> None:
        self.control.change_server(server or str(asking.server), owner=owner)

    def _answer(
        self, link: str | Asking, server: str, *, by: str = "anna", meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """Answer, and keep what is said to that; *meanwhile* happens when the panel was read, and nothing written."""
        try:
            asking = of_link(link, questions=self.questions, vault=self.vault) if isinstance(link, str) else link
            said = answer(
                asking, server=server, done=self.closing, by=by, questions=_Meanwhile(self.questions, meanwhile),
                drivers=self.drivers, waker=self.waker,
            )  # fmt: skip
            self.named = server
        except ProvisionerError as error:
            said = str(error)
        self.said.append(said)

    def _cancel(self, first: Callable[[], object] = lambda: None) -> None:
        first()
        who = operate.Operator("billing", self.services, self.waker, self.policies)
        operate.cancel(self.placed, who, reason="the customer changed their mind")

    def _at_once(self, first: Callable[[Callable[[], object]], None], second: Callable[..., None]) -> None:
        """Do both from two threads, each given what it is to call at the instant at which it touches our books."""
        meet = partial(threading.Barrier(2).wait, AT_ONCE)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(one, meet) for one in (first, second)]:
                done.result(LIMIT)

    # --- time -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do one tick, and one message to people."""
        super().tick()
        tell.project(tickets=self.tickets, waker=self.waker, sweep=True)
        self.senders += 1
        tell.deliver(
            owner=f"test:{self.senders}", tickets=self.tickets, desks=self._desks(), waker=self.waker,
            link=lambda question: f"https://answers.example.net{PATH}{link_token(question, vault=self.vault)}",
        )  # fmt: skip

    def _desks(self) -> DeskRegistry:
        rt = RtServer(f"http://127.0.0.1:{self.around.line.port}", TOKEN, total_seconds=30)
        by_mail = MailServer(self.around.mail.url, "provisioner@example.net", total_seconds=30)
        return DeskRegistry({"email": EmailDesk(by_mail), "rt": RtDesk(rt, Caller("RT", ca_file=None, variable=""))})

    def _stuck(self) -> bool:
        """Say whether it was tried for an hour: another department is to hear of it."""
        return bool(self.database.value("SELECT count(*) FROM ticket WHERE matter LIKE 'stuck:%%'"))

    def _asked(self) -> Asking:
        """Let the job come to its question."""

        def there() -> bool:
            try:
                return self.questions.of_job(self.placed).open and not self.waker.messages
            except NotFound:
                return False

        self.run(there, seconds=LIMIT)
        return self.questions.of_job(self.placed)

    def _over(self) -> bool:
        left = "SELECT (SELECT count(*) FROM ticket WHERE state = 'open') + (SELECT count(*) FROM delivery "
        return self.ended(self.placed)() and not self.database.value(f"{left} WHERE sent_at IS NULL)")

    # --- set-up and books -----------------------------------------------------------------------------------------

    def _fell(self) -> None:
        self.around.fell_desk(self.cell.desk)

    def _raise(self) -> None:
        self.around.raise_desk(self.cell.desk)

    def _set_up(self) -> None:
        world = self.control.world()
        admin = next(user["id"] for user in world["users"] if user["name"] == self.around.panel.admin_user)
        self.connect(url=self.around.panel.url)
        drivers = OwnDrivers(EndpointLoader(self.database, self.vault, SPANS))
        self.drivers = drivers  # type: ignore[assignment]
        self.tools = replace(self.tools, drivers=drivers)
        self.database.rows(
            "UPDATE connection SET kind = 'dcimanager5', username = %(user)s, admin_user = %(admin)s",
            user=self.around.panel.admin_user, admin=admin,
        )  # fmt: skip
        here = self.cell.desk
        away = OTHER[here]
        for given in (Department("default", ONCALL[away], desk=away), Department("hands", HANDS[here], desk=here)):
            assert tell.save_department(given, tickets=self.tickets, desks=self._desks()) == ""
        self.package("rack", kind="colocation", server_type="", os_allowed="[]", ipv4=0)
        self.database.rows("UPDATE package SET department_id = (SELECT id FROM department WHERE name = 'hands')")
        self.control.clear_journal()

    def _close(self) -> None:
        """Let the order go through undisturbed, and ask for the end of its service."""
        asking = self._asked()
        self._answer(asking, self._ready(asking))
        self.run(self._over, seconds=LIMIT)
        self.books, self.closing, self.said = self._came(), True, []
        self.control.clear_journal()
        wished, due = self.life.wish("panel", "ord-1", Wish(JobKind.CLOSE), by="billing", policies=self.policies)
        self.placed = wished.job_id
        self.waker.wake(due)

    def _mails(self, to: Mapping[str, str]) -> list[EmailMessage]:
        return [one for one in self.around.mail.mails if one["To"] == to["email"]][self._before(to, "email") :]

    def _tickets(self, to: Mapping[str, str]) -> list[Ticket]:
        return [one for one in self.around.tracker.tickets if one.queue == to["rt"]][self._before(to, "rt") :]

    def _before(self, to: Mapping[str, str], desk: str) -> int:
        """Count what lay there before the job that this is about: a service was opened before it is closed."""
        if to is not HANDS or desk != self.cell.desk:
            return 0
        return self.books.tickets if desk == "rt" else self.books.messages

    def _heard(self) -> int:
        """Count what the administrator in charge was told."""
        return len(self._mails(ONCALL)) + sum(len(ticket.messages) for ticket in self._tickets(ONCALL))

    def _came(self) -> Came:
        claim = self._row("SELECT state, server_ref FROM claim")
        at_desk = self._at_rt() if self.cell.desk == "rt" else self._at_mail()
        return Came(
            job=self.job(self.placed)["state"],
            service=self._row("SELECT state FROM service")["state"],
            claim=claim["state"],
            told=tuple(self.said),
            answers=self.database.value("SELECT count(*) FROM event WHERE kind = 'person_answered'")
            - self.books.answers,
            admin=self._heard(),
            acts=tuple(call["func"] for call in self.control.journal() if call["mutating"] and call["effect"]),
            bound=claim["server_ref"],
            named=self.named,
            trail=self.trail(),
            **at_desk,
        )

    def _row(self, statement: str) -> Mapping[str, Any]:
        (found,) = self.database.rows(statement)
        return found

    def _at_rt(self) -> Mapping[str, int]:
        tickets = self._tickets(HANDS)
        subjects = [subject for ticket in tickets for _, subject, _ in ticket.messages]
        return {
            "tickets": len(tickets),
            "still_open": sum(ticket.status != "resolved" for ticket in tickets),
            "messages": len(subjects),
            "doubled": len(subjects) - len(set(subjects)),
        }

    def _at_mail(self) -> Mapping[str, int]:
        """Count threads; one whose last mail follows its first up is over: a mail box knows no other end."""
        found = self._mails(HANDS)
        ids = [str(one["Message-ID"]) for one in found]
        firsts = {str(one["Message-ID"]) for one in found if not one["References"]}
        ended = {str(one["References"]) for one in found if one["References"]}
        return {
            "tickets": len(firsts),
            "still_open": len(firsts - ended),
            "messages": len(ids),
            "doubled": len(ids) - len(set(ids)),
        }


class _Meanwhile:
    """`ports.Questions` where something happens between what an answer saw in the panel and our books."""

    def __init__(self, questions: Questions, happens: Callable[[], object]) -> None:
        self._questions, self._happens = questions, happens

    def of_job(self, job_id: int) -> Asking:
        return self._questions.of_job(job_id)

    def by_id(self, question_id: int) -> Asking:
        return self._questions.by_id(question_id)

    def answer(self, question_id: int, *, server: ServerRef | None, by: str) -> Sequence[Wakeup]:
        self._happens()
        return self._questions.answer(question_id, server=server, by=by)

    def ask_again(self, question_id: int, *, says: str) -> None:
        self._questions.ask_again(question_id, says=says)
