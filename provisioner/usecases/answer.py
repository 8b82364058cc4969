"""A person answers what a job asked: checked in the DCIM at once, believed by the step's own read later."""

from provisioner.domain.naming import storable
from provisioner.domain.question import NOBODY_WAITS, QuestionKind, answered_before
from provisioner.domain.server import ServerReading, ServerRef
from provisioner.errors import BadConfig, IllegalMove, Invalid, NoSuchObject, NotFound
from provisioner.ports import Asking, Drivers, Questions, Vault, Waker

PATH = "/answer/"  #: of the page behind a link, the link's token after it
PREFIX = "answer"  #: of what a link's token seals: no other secret opens this page


def link_token(question: int, *, vault: Vault) -> str:
    """Give what a link to *question* carries; whoever has it may answer, once."""
    return vault.seal(f"{PREFIX} {question}")[0].decode("ascii")


def of_link(token: str, *, questions: Questions, vault: Vault) -> Asking:
    """
    Give the question that a link is about.

    Raises:
        NotFound: the link is none of ours, or its question was erased.
    """
    try:
        prefix, _, number = vault.open(token.encode("ascii")).rpartition(" ")
    except (BadConfig, UnicodeEncodeError):
        prefix = number = ""
    if prefix != PREFIX or not number.isdecimal():
        raise NotFound("this link is not valid; take the newest one of the ticket")
    return questions.by_id(int(number))


def answer(
    asking: Asking, *, server: str, done: bool, by: str, questions: Questions, drivers: Drivers, waker: Waker
) -> str:
    """
    Take an answer that the DCIM agrees with; returns what happens now.

    Raises:
        IllegalMove: it was answered before, or nobody waits for it any more.
        Invalid: the DCIM does not agree; the sentence says what to do, and the job goes on waiting.
        RemoteError: the DCIM can't be asked now.
    """
    if asking.answered_at is not None:
        raise IllegalMove(answered_before(asking.answered_by))
    if not asking.open:
        raise IllegalMove(NOBODY_WAITS)
    named = None
    if asking.kind is QuestionKind.PLACED:
        named = _placed(asking, server.strip(), drivers)
    else:
        _removed(asking, drivers, done=done)
    waker.wake(questions.answer(asking.question, server=named, by=by))
    return f"job {asking.job_id} goes on: it reads the server once more"


def _placed(asking: Asking, server: str, drivers: Drivers) -> ServerRef:
    if not server:
        raise Invalid(f"which server is it? Give its id in {asking.connection}", field="server")
    named = ServerRef(storable(server, field="server", longest=200))
    reading = _read(asking, named, drivers)
    if reading is None:
        raise Invalid(f"there is no server {named} in {asking.connection}; look its id up there", field="server")
    if asking.customer is None or reading.owner != asking.customer:
        whose = f"user {reading.owner}" if reading.owner else "nobody"
        raise Invalid(
            f"server {named} belongs to {whose} in {asking.connection}; give it to the customer's user {asking.login} "
            f"(id {asking.customer}) there, then answer again",
            field="server",
        )
    return named


def _removed(asking: Asking, drivers: Drivers, *, done: bool) -> None:
    if not done:
        raise Invalid("say that it is done", field="done")
    if asking.server is None:
        return
    reading = _read(asking, asking.server, drivers)
    if reading is not None and reading.owner is not None and reading.owner == asking.customer:
        raise Invalid(
            f"{asking.connection} still gives server {asking.server} to the customer's user {asking.login} (id "
            f"{asking.customer}); delete it there or clear its owner, then answer again",
            field="done",
        )


def _read(asking: Asking, server: ServerRef, drivers: Drivers) -> ServerReading | None:
    try:
        return drivers.get(asking.connection_id).read(server)
    except NoSuchObject:
        return None
