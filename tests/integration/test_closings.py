"""A person closes the ticket of a removal: that answers it, once, where the DCIM agrees; what we close never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from provisioner.desks.registry import DeskRegistry
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.desks.webhook import WebhookDesk, WebhookSecret
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import FakeServer
from provisioner.drivers.http import Caller
from provisioner.errors import BadValue, Denied, RemoteError, Unreachable
from provisioner.ports import DeskCapabilities, TicketReading, TicketStatus
from provisioner.store import closings as store
from provisioner.store import connections
from provisioner.store.tickets import PACE, READS_MOST
from provisioner.usecases import tell
from provisioner.usecases.heed import heed
from provisioner.usecases.observe import observe
from provisioner.webhook import WebhookSender, networks
from tests.fakes.rt import FakeTracker, Queue, Ticket
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.integration.test_colocation import ask, asked, done, opened, say, service
from tests.site import SHORT, Site

TOKEN, SECRET, QUEUE = "1-27-planted0123456789", "planted-with-every-webhook", "DC 1 hands"
#: what is told again is told at once, so that a test need not wait
AT_ONCE = replace(SHORT, tell_again=0.001, tell_gather=0.001, tell_read=3000.0)
NOTHING = "nothing to look at"


@dataclass
class Between:
    """A desk at which something happens while it answers, or that does not answer."""

    desk: RtDesk
    then: Callable[[], object] = lambda: None
    broken: Exception | None = None
    looks: int = 0
    capabilities: DeskCapabilities = field(default_factory=lambda: RtDesk.capabilities)

    def status(self, ref: str) -> TicketReading:
        self.looks += 1
        if self.broken is not None:
            raise self.broken
        found = self.desk.status(ref)
        self.then()
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the desk has
        return getattr(self.desk, name)


class Room:
    """A site that sells places, whose technicians are reached by RT."""

    def __init__(self, url: str, tracker: FakeTracker) -> None:
        self.site = Site(url, spans=AT_ONCE, pool_size=4)
        self.tracker = tracker
        rt = RtServer(f"http://127.0.0.1:{tracker.port}", TOKEN, total_seconds=30)
        self.desk = Between(RtDesk(rt, Caller("RT", ca_file=None, variable="PROVISIONER_RT_CA_FILE")))
        hook = WebhookDesk(WebhookSecret(SECRET), WebhookSender(allowed=networks("127.0.0.0/8"), total_seconds=30))
        self.desks = DeskRegistry({"rt": self.desk, "webhook": hook})
        self.site.connect()
        self.in_charge()
        self.site.package("rack", kind="colocation", server_type="", os_allowed="[]", ipv4=0)
        self.site.database.rows("UPDATE package SET department_id = (SELECT id FROM department WHERE name = 'hands')")

    def in_charge(self, desk: str = "rt", address: str = QUEUE) -> None:
        self.site.tickets.save_department(Department("hands", address, desk=desk))

    def deliver(self) -> None:
        """Let a tick make messages, and send them all."""
        tell.project(tickets=self.site.tickets, waker=self.site.waker, sweep=True)
        soon = "SELECT count(*) FROM delivery WHERE sent_at IS NULL AND due_at < clock_timestamp() + interval '1 s'"
        while self.site.database.value(soon):
            self.send()

    def send(self) -> str:
        return tell.deliver(
            owner=self.site.owner(),
            tickets=self.site.tickets,
            desks=self.desks,
            waker=self.site.waker,
            link=lambda question: f"https://answers.example.net/answer/{question}",
        )

    def look(self, *, due: bool = True) -> str:
        """Look at the desk, when it is time; *due*: it is."""
        if due:
            self.site.database.rows("UPDATE ticket SET read_at = clock_timestamp() - interval '1 s' "
                                    "WHERE read_at IS NOT NULL")  # fmt: skip
        return heed(
            owner=self.site.owner(),
            closings=self.site.closings,
            questions=self.site.questions,
            desks=self.desks,
            drivers=self.site.drivers,
            engine=self.site.engine,
            waker=self.site.waker,
            interrupted=(KeyboardInterrupt,),
        )

    @property
    def ticket(self) -> Ticket:
        """The ticket that asks for the removal, as the tracker has it."""
        return self.tracker.tickets[-1]

    def person(self, status: str = "resolved", by: str = "anna") -> None:
        self.ticket.status, self.ticket.updated_by = status, by

    def closing(self) -> tuple[FakeServer, int]:
        """Open a service, let its close come to the ticket; gives the server and the job."""
        server = opened(self.site)
        self.deliver()
        job = ask(self.site, JobKind.CLOSE)
        asked(self.site, job)
        self.deliver()
        return server, job

    def told(self, kind: str) -> list[str]:
        found = self.site.database.rows("SELECT text FROM event WHERE kind = %(kind)s ORDER BY id", kind=kind)
        return [row["text"] for row in found]

    def reads(self) -> list[Any]:
        return [row["read_at"] for row in self.site.database.rows("SELECT read_at FROM ticket ORDER BY id")]


@pytest.fixture
def room(database_url: str) -> Iterator[Room]:
    with FakeTracker(TOKEN, [Queue(QUEUE)]).up() as tracker:
        made = Room(database_url, tracker)
        yield made
        made.site.database.close()


def test_a_ticket_that_a_person_closes_is_the_answer(room: Room) -> None:
    server, job = room.closing()
    before = room.look()
    server.owner = None
    room.person()
    said = room.look()
    done(room.site, job)
    room.deliver()

    assert (before, said) == ("ticket 2: open", f"ticket 2: closed: job {job} goes on: it reads the server once more")
    assert service(room.site)["state"] == "closed"
    assert room.told("person_answered")[1:] == ["answered by anna by the ticket in rt: it is done"]
    assert room.ticket.status == "resolved"
    assert len(room.ticket.messages) == 2  # what was asked, and the all-clear
    assert [call.method for call in room.site.world.calls(mutating=True)] == ["create_user"]


def test_the_ticket_says_where_the_machine_stands_and_that_closing_it_is_an_answer(room: Room) -> None:
    opened(room.site)
    observe(1, owner="test", observer=room.site.observer, drivers=room.site.drivers, waker=room.site.waker)
    asked(room.site, ask(room.site, JobKind.CLOSE))
    room.deliver()
    text = room.ticket.messages[0][2]

    assert (
        f"Where: connection dc1, server 501 (rack {room.site.world.servers[ServerRef('501')].rack}), order ord-1"
        in text
    )
    assert "  or close this ticket,\n" in text
    assert "[" not in text


def test_where_the_desk_does_not_tell_who_it_was_the_department_answers(room: Room) -> None:
    server, _ = room.closing()
    server.owner = None
    room.person(by="")
    room.look()

    assert room.told("person_answered")[-1] == "answered by department hands by the ticket in rt: it is done"


def test_a_ticket_is_closed_and_the_dcim_does_not_agree_so_it_is_open_again_with_the_reason(room: Room) -> None:
    server, job = room.closing()
    room.person()
    said = room.look()
    meanwhile = [room.look()]
    room.site.tickets.project(100)
    meanwhile.append(room.look())
    room.deliver()
    opened_again, text = room.ticket.status, room.ticket.messages[-1][2]
    after = room.look()
    server.owner = None
    room.person()
    room.look()
    done(room.site, job)

    assert said.startswith("ticket 2: closed: asked again: dc1 still gives server 501 to the customer's user")
    assert meanwhile == [NOTHING, NOTHING]  # what we say of it comes first
    assert opened_again == "open"
    assert "What: dc1 still gives server 501 to the customer's user" in text
    assert "delete it there or clear its owner, then answer again" in text
    assert after == "ticket 2: open"
    assert len(room.told("person_asked")) == 3
    assert service(room.site)["state"] == "closed"


def test_an_answer_by_ticket_that_is_not_true_any_more_opens_it_again(room: Room) -> None:
    server, job = room.closing()
    owner, server.owner = server.owner, None
    room.person()
    room.look()
    server.owner = owner
    again = asked(room.site, job)
    before = room.look()
    room.deliver()

    assert again.says.startswith("the DCIM still gives server 501")
    assert before == NOTHING
    assert room.ticket.status == "open"
    assert room.look() == "ticket 2: open"
    assert len(room.told("person_answered")) == 2


def test_what_is_asked_again_after_the_page_s_answer_opens_the_ticket_that_was_closed_too(room: Room) -> None:
    server, job = room.closing()
    owner, server.owner = server.owner, None
    say(room.site, asked(room.site, job), done=True)
    room.person()
    server.owner = owner
    asked(room.site, job)
    before = room.look()
    room.deliver()

    assert before == NOTHING
    assert room.ticket.status == "open"


def test_a_reminder_does_not_open_what_a_person_has_just_closed(room: Room) -> None:
    server, job = room.closing()
    server.owner = None
    room.person()
    room.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h'")
    room.deliver()
    status = room.ticket.status
    room.look()
    done(room.site, job)

    assert room.ticket.messages[1][2].startswith("Still so")
    assert status == "resolved"
    assert room.told("person_answered")[-1].endswith("by the ticket in rt: it is done")


# --- ours, and twice ------------------------------------------------------------------------------------------------


def test_our_own_close_of_a_ticket_is_no_answer(room: Room) -> None:
    server, job = room.closing()
    server.owner = None
    say(room.site, asked(room.site, job), done=True)
    done(room.site, job)
    before = room.look()
    room.deliver()

    assert room.ticket.status == "resolved"
    assert (before, room.look()) == (NOTHING, NOTHING)
    assert room.desk.looks == 0
    assert len(room.told("person_answered")) == 2
    assert room.reads() == [None, None]  # nobody looks at it any more


def test_a_ticket_that_is_over_for_us_is_not_looked_at_though_its_question_waits(room: Room) -> None:
    room.closing()
    room.person()
    room.site.database.rows("UPDATE ticket SET state = 'closed', closed_at = clock_timestamp() WHERE id = 2")

    assert room.look() == NOTHING
    assert room.desk.looks == 0


def test_a_ticket_of_ours_that_is_opened_again_is_open_at_its_desk_before_it_is_looked_at(room: Room) -> None:
    room.closing()
    room.site.database.rows("UPDATE attempt SET pos = 9 WHERE id = 2")  # nobody waits …
    room.deliver()
    closed = room.ticket.status
    room.site.database.rows("UPDATE attempt SET pos = 0 WHERE id = 2")  # … and then somebody does
    room.site.questions.ask_again(2, says="look once more")
    before = room.look()
    room.deliver()

    assert (closed, before, room.ticket.status) == ("resolved", NOTHING, "open")
    assert room.look() == "ticket 2: open"


def withdrawn(room: Room) -> None:
    """End the close, as no verb does today: it can't be taken back."""
    room.site.database.rows("UPDATE attempt SET state = 'ended', awaits = NULL, "
                            "resume_at = NULL, ended_at = clock_timestamp() WHERE id = 2")  # fmt: skip


@pytest.mark.parametrize("sent", [False, True])
def test_a_ticket_that_is_closed_after_the_job_s_end_is_no_answer(room: Room, *, sent: bool) -> None:
    server, _ = room.closing()
    withdrawn(room)
    server.owner = None
    room.person()
    if sent:
        room.deliver()

    assert room.look() == NOTHING
    assert room.desk.looks == 0
    assert len(room.told("person_answered")) == 1


@pytest.mark.parametrize("agrees", [True, False])
def test_a_job_that_ends_while_the_desk_answers_is_not_answered(room: Room, *, agrees: bool) -> None:
    server, _ = room.closing()
    if agrees:
        server.owner = None
    room.person()
    room.desk.then = lambda: withdrawn(room)

    assert room.look().startswith("ticket 2: closed: nobody waits for this answer any more")
    assert (len(room.told("person_answered")), len(room.told("person_asked"))) == (1, 2)


def test_a_ticket_that_is_closed_just_as_the_page_is_answered_is_one_answer(room: Room) -> None:
    server, job = room.closing()
    server.owner = None
    room.person()
    asking = room.site.questions.of_job(job)
    room.desk.then = lambda: say(room.site, asking, done=True)
    said = room.look()
    later = room.look()
    done(room.site, job)

    assert said == "ticket 2: closed: this was answered before, by cli anna"
    assert later == NOTHING
    assert room.told("person_answered")[1:] == ["answered by cli anna: it is done"]


def test_a_ticket_that_is_closed_twice_is_one_answer(room: Room) -> None:
    server, job = room.closing()
    server.owner = None
    room.person()
    room.look()
    room.person("open")
    room.person()

    assert room.look() == NOTHING
    done(room.site, job)
    assert len(room.told("person_answered")) == 2


@pytest.mark.parametrize("status", ["rejected", "deleted", "stalled", "waiting for parts"])
def test_a_ticket_that_is_refused_or_can_t_be_judged_is_no_answer(room: Room, status: str) -> None:
    server, job = room.closing()
    server.owner = None
    room.person(status)
    room.look()

    assert room.site.questions.of_job(job).open
    assert len(room.told("person_answered")) == 1


def test_the_ticket_of_a_machine_that_is_to_be_placed_is_not_looked_at(room: Room) -> None:
    asked(room.site, room.site.order("ord-1", package="rack", os="").job_id)
    room.deliver()
    room.person()

    assert room.look() == NOTHING
    assert room.ticket.status == "resolved"


def test_a_desk_that_can_t_be_read_is_not_looked_at(room: Room) -> None:
    with WebhookReceiver(SECRET) as receiver:
        room.in_charge("webhook", receiver.url)
        room.closing()

        assert room.look() == NOTHING
        assert room.reads() == [None, None]
        assert receiver.received[-1].body["kind"] == "open"
        assert "close this ticket" not in receiver.received[-1].body["text"]


def test_a_ticket_that_goes_to_another_desk_is_looked_at_there_once_it_was_opened(room: Room) -> None:
    with WebhookReceiver(SECRET) as receiver:
        room.in_charge("webhook", receiver.url)
        room.closing()
        room.in_charge()
        before = room.look()
        room.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h'")
        room.deliver()
        after = room.look()
        room.in_charge("webhook", receiver.url)

        assert (before, after) == (NOTHING, "ticket 2: open")
        assert room.look() == NOTHING


# --- pace, and trouble ----------------------------------------------------------------------------------------------


def test_a_ticket_is_looked_at_at_its_pace_and_nobody_is_woken_before(room: Room) -> None:
    room.closing()
    early = room.look(due=False)
    woken = room.site.tickets.look()
    room.site.database.rows("UPDATE ticket SET read_at = clock_timestamp() WHERE read_at IS NOT NULL")
    due = room.site.tickets.look()

    assert (early, woken, due) == (NOTHING, (False, False), (False, True))


def test_more_tickets_are_looked_at_less_often(room: Room) -> None:
    room.site.database.rows(
        "INSERT INTO ticket (department_id, matter, subject, read_at) "
        "SELECT (SELECT id FROM department), 'remove:' || n, 'x', now() FROM generate_series(1, 3 * %(most)s) n",
        most=READS_MOST,
    )
    distance = room.site.database.value(
        f"SELECT extract(epoch FROM {PACE} - clock_timestamp())::float8",  # noqa: S608 - a statement of the store's
        read=60.0,
        reads_most=READS_MOST,
    )

    assert distance == pytest.approx(180, abs=1)


def test_one_desk_is_called_at_a_time_be_it_to_send_or_to_look(room: Room) -> None:
    room.closing()
    with room.site.database.transaction() as session:
        connections.restrict(session, 1, "install_os", "the install server is down", room.site.spans)
    room.site.tickets.save_department(Department("default", QUEUE, desk="rt"))
    room.deliver()
    while_looking: list[object] = []
    room.desk.then = lambda: while_looking.append((room.send(), room.look()))
    room.look()

    assert while_looking == [("nothing to send", NOTHING)]
    assert room.desk.looks == 1


@pytest.mark.parametrize(
    ("broken", "all_wait"),
    [(Unreachable("gone"), True), (Denied("401"), True), (KeyboardInterrupt(), True), (BadValue("odd"), False)],
)
def test_a_desk_that_fails_is_asked_with_growing_distance_and_messages_go_on(
    room: Room, broken: Exception, *, all_wait: bool
) -> None:
    server, job = room.closing()
    room.desk.broken = broken
    said = [room.look(due=n == 0) for n in range(2)]
    room.site.database.rows(
        "INSERT INTO ticket (department_id, matter, subject, read_at, desk_ref) "
        "SELECT id, 'remove:0', 'x', 'infinity', '9' FROM department"
    )
    distances = []
    for _ in range(5):
        room.site.database.rows("UPDATE ticket SET read_at = now() WHERE id = 2")
        room.look(due=False)
        distances.append(
            room.site.database.value("SELECT extract(epoch FROM read_at - clock_timestamp()) FROM ticket WHERE id = 2")
        )
    other = room.site.database.value("SELECT read_at < clock_timestamp() + interval '1 d' FROM ticket WHERE id = 3")
    room.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h' WHERE ticket_id = 2")
    room.deliver()
    room.desk.broken = None
    server.owner = None
    room.person()
    room.look()
    done(room.site, job)

    assert said[0].startswith("ticket 2: not read: ")
    assert said[1] == NOTHING
    assert [round(float(distance) / AT_ONCE.tell_read) for distance in distances] == [4, 8, 10, 10, 10]
    assert other == all_wait
    assert room.ticket.messages[1][2].startswith("Still so")


def test_a_desk_that_is_not_set_up_any_more_waits(room: Room) -> None:
    room.closing()
    room.desks = DeskRegistry({"rt": None})

    assert "the desk 'rt' is not set up" in room.look()


@pytest.mark.parametrize("error", [Unreachable, Denied])
def test_a_dcim_that_can_t_be_asked_is_counted_and_the_answer_is_taken_when_it_can(
    room: Room, error: type[RemoteError]
) -> None:
    server, job = room.closing()
    server.owner = None
    room.person()
    room.site.world.fault("read", error)
    said = room.look()
    counted = room.site.database.row("SELECT away_count, denied_count FROM connection") or {}
    still = room.site.questions.of_job(job).open
    room.site.run(lambda: room.site.database.value("SELECT state FROM connection") == "active")
    room.look()
    done(room.site, job)

    assert said.startswith(f"ticket 2: closed: not checked: {error.__name__}")
    assert sum(counted.values()) == 1
    assert still


def test_while_its_place_is_paused_or_we_are_halted_nothing_is_looked_at(room: Room) -> None:
    room.closing()
    room.person()
    run = room.site.database.rows
    with room.site.database.transaction() as session:
        connections.pause(session, 1, "denied", "our credentials are refused")
    paused = room.look()
    with room.site.database.transaction() as session:
        connections.resume(session, 1)
    run("UPDATE installation SET halted = 'a copy'")
    halted = room.look()
    run("UPDATE installation SET halted = ''")
    room.deliver()

    assert (paused, halted) == (NOTHING, NOTHING)
    assert room.desk.looks == 0
    assert room.look().startswith("ticket 2: closed")


def test_who_is_killed_while_the_desk_answers_costs_one_pace(room: Room) -> None:
    server, job = room.closing()
    server.owner = None
    room.person()
    room.site.database.rows("UPDATE ticket SET read_at = clock_timestamp() WHERE read_at IS NOT NULL")
    taken = room.site.closings.take("test:killed")
    meanwhile = room.look()
    room.site.database.rows("UPDATE heartbeat SET at = clock_timestamp() WHERE name = 'deliver'")  # its lease ran out
    room.look()
    done(room.site, job)

    assert taken is not None
    assert meanwhile == NOTHING
    assert len(room.told("person_answered")) == 2


@pytest.mark.parametrize("name", ["SKIP", "TAKE", "ANSWERED", "PUT_OFF"])
def test_no_look_reads_what_is_over(room: Room, name: str) -> None:
    run = room.site.database.rows
    run(
        "WITH t AS (INSERT INTO ticket (department_id, matter, subject, state, closed_at) "
        "SELECT 1, 'remove:' || n, 'x', 'closed', clock_timestamp() FROM generate_series(1, 5000) n RETURNING id) "
        "INSERT INTO delivery (ticket_id, n, kind, text, sent_at) SELECT t.id, n, 'open', repeat('x', 300), now() "
        "FROM t, generate_series(1, 3) n"
    )
    run("ANALYZE ticket, delivery")
    values = {"read": 60.0, "reads_most": READS_MOST, "ticket": 1, "slowest": 10.0, "all": True, "desk": "rt"}
    plan = "\n".join(next(iter(row.values())) for row in run(f"EXPLAIN {getattr(store, name)}", **values))

    assert "Seq Scan on ticket" not in plan, plan
    assert "Seq Scan on delivery" not in plan, plan


def test_a_reading_is_what_the_port_says(room: Room) -> None:
    room.closing()

    assert room.desk.desk.status("1") == TicketReading(TicketStatus.CLOSED)  # ours, when the machine was placed
    assert room.desk.desk.status("2") == TicketReading(TicketStatus.OPEN)
