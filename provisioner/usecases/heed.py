"""A person closes a ticket that asks for a removal: that is the answer "done", checked as any other."""

import structlog

from provisioner.errors import BadConfig, Denied, Fatal, IllegalMove, Invalid, NotFound, RemoteError, Unreachable
from provisioner.ports import Closings, Desks, Drivers, Engine, Questions, TicketStatus, Waker, Watched
from provisioner.usecases.answer import answer

log = structlog.get_logger()


def heed(
    *,
    owner: str,
    closings: Closings,
    questions: Questions,
    desks: Desks,
    drivers: Drivers,
    engine: Engine,
    waker: Waker,
    interrupted: tuple[type[BaseException], ...] = (),
) -> str:
    """
    Look at the ticket whose turn it is, outside any transaction; returns what came of it.

    Safe to repeat: an answer is taken once, and what is asked again opens its ticket before it is looked at again.
    """
    later: tuple[type[BaseException], ...] = (*interrupted, RemoteError, BadConfig)
    watched = closings.take(owner)
    if watched is None:
        return "nothing to look at"
    try:
        reading = desks.get(watched.desk).status(watched.ref)
    except later as error:
        log.warning("ticket_not_read", ticket=watched.ticket, desk=watched.desk, why=f"{type(error).__name__}: {error}")
        closings.put_off(watched, desk=not isinstance(error, Fatal))
        return f"ticket {watched.ticket}: not read: {error}"
    # the turn goes back before the DCIM is asked: a slow one holds up no message
    if closings.looked(watched):
        waker.deliver()
    if reading.status is not TicketStatus.CLOSED:
        return f"ticket {watched.ticket}: {reading.status}"
    by = f"{reading.by or f'department {watched.department}'} by the ticket in {watched.desk}"
    try:
        said = _done(watched, by, questions=questions, drivers=drivers, engine=engine, waker=waker)
    except later as error:  # it stays closed there: the next look finds it so
        said = f"not checked: {type(error).__name__}: {error}"
    log.info("ticket_closed", ticket=watched.ticket, question=watched.question, by=by, came=said)
    return f"ticket {watched.ticket}: closed: {said}"


def _done(watched: Watched, by: str, *, questions: Questions, drivers: Drivers, engine: Engine, waker: Waker) -> str:
    """Answer, or ask again with the reason. Raises `RemoteError`, `BadConfig`: the DCIM can't be asked now."""
    try:
        asking = questions.by_id(watched.question)
        try:
            return answer(asking, server="", done=True, by=by, questions=questions, drivers=drivers, waker=waker)
        except Invalid as contradicted:
            questions.ask_again(watched.question, says=str(contradicted))
            waker.tick()
            return f"asked again: {contradicted}"
        except (Denied, Unreachable) as error:  # counted as a step's: panels lock accounts
            engine.trouble(asking.connection_id, denied=isinstance(error, Denied), reason=str(error))
            raise
    except (IllegalMove, NotFound) as settled:
        return str(settled)
