"""Tell people: events become tickets, one a matter, and their messages are handed to a desk; delays no job."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from provisioner.domain.catalogue import name_of
from provisioner.domain.matters import CLOSING, DESKS, LINK, Department
from provisioner.domain.naming import storable
from provisioner.domain.touch import OUT_OF_TIME
from provisioner.domain.wording.texts import language_of
from provisioner.errors import BadConfig, BadValue, Invalid, RemoteError
from provisioner.ports import Delivery, DeliveryKind, Desk, Desks, Tickets, Waker

log = structlog.get_logger()
LIMIT = 100  #: events a tick
LOCAL_MOST, MAILBOX_MOST, ADDRESS_MOST = 64, 254, 500
NOTHING = "nothing to send"
NO_LINK = "(no link: PROVISIONER_PUBLIC_URL is not set)"


def project(*, tickets: Tickets, waker: Waker, sweep: bool) -> int:
    """
    Make messages of what happened, and ask for the sending of what is due; one statement when there is nothing.

    *sweep*: look also for what no event tells of: a ticket that is over, a trouble that is seen. Returns how many
    events there were.
    """
    told, due = tickets.look()
    count = tickets.project(LIMIT) if told else 0
    said = count
    if count or sweep:
        said += tickets.settle()
        _, due = tickets.look()
    if due and (said or tickets.ask()):
        waker.deliver()
    return count


def deliver(
    *,
    owner: str,
    tickets: Tickets,
    desks: Desks,
    waker: Waker,
    link: Callable[[int], str],
    interrupted: tuple[type[BaseException], ...] = (),
) -> str:
    """
    Hand the message that is longest due to its desk, outside any transaction; returns what came of it.

    *link* makes the address at which a question is answered; it is put in here, so that it is stored nowhere.

    At least once: one whose answer was lost, or whose sender was killed, comes again under the same key.
    """
    delivery = tickets.take(owner)
    if delivery is None:
        return NOTHING
    try:
        desk = desks.get(delivery.desk)
        ref = _hand_over(desk, _for_desk(delivery, desk, link))
    except interrupted:
        why = OUT_OF_TIME
    except (RemoteError, BadConfig) as error:
        why = str(error)
    except Exception as error:
        log.exception("delivery_crashed", ticket=delivery.ticket)
        why = f"unforeseen: {type(error).__name__}"
    else:
        log.info("delivery_sent", ticket=delivery.ticket, kind=delivery.kind.value, tries=delivery.tries)
        if tickets.sent(delivery, ref, readable=desk.capabilities.status):
            waker.deliver()
        return f"ticket {delivery.ticket}: {delivery.kind} sent"
    log.warning("delivery_put_off", ticket=delivery.ticket, kind=delivery.kind.value, tries=delivery.tries, why=why)
    tickets.put_off(delivery, why)
    return f"ticket {delivery.ticket}: {delivery.kind} put off: {why}"


def _for_desk(delivery: Delivery, desk: Desk, link: Callable[[int], str]) -> Delivery:
    """Put into a question's text how it is answered there."""
    if delivery.question is None:
        return delivery
    lines = delivery.message.text.splitlines()
    shown = [line.replace(f"{CLOSING} ", "") for line in lines if desk.capabilities.status or CLOSING not in line]
    text = "\n".join(shown).replace(LINK, link(delivery.question) or NO_LINK)
    return replace(delivery, message=replace(delivery.message, text=text))


def _hand_over(desk: Desk, delivery: Delivery) -> str:
    """Give what the desk calls a ticket that was opened now, "" for all else."""
    match delivery.kind:
        case DeliveryKind.OPEN:
            return desk.open(delivery.message)
        case DeliveryKind.COMMENT:
            if not delivery.ref:  # its department went to another desk, which has not heard of it yet
                return desk.open(delivery.message)
            desk.comment(delivery.ref, delivery.message, reopen=delivery.reopens)
        case DeliveryKind.CLOSE:
            desk.close(delivery.ref, delivery.message)
    return ""


def save_department(given: Department, *, tickets: Tickets, desks: Desks) -> str:
    """
    Save who is in charge, tried at their desk first; returns why it can't be reached now, "" when it can.

    Raises:
        Invalid: a value can't be taken, or the desk knows no such address; nothing is saved.
    """
    name_of(given.name, field="name")
    storable(given.address, field="address", longest=ADDRESS_MOST)
    language_of(given.language)
    if given.desk not in DESKS:
        raise Invalid(f"there is no desk {given.desk!r}; there are {', '.join(DESKS)}", field="desk")
    _address_of(given)
    trouble = ""
    try:
        desks.get(given.desk).check(given.address)
    except BadValue as error:
        raise Invalid(f"address is refused: {error}", field="address") from None
    except (RemoteError, BadConfig) as error:
        trouble = str(error)
    tickets.save_department(given)
    return trouble


def _address_of(given: Department) -> None:
    """Return for what its kind of desk could take, also where that desk is not set up. Raises `Invalid`."""
    address = given.address
    match given.desk:
        case "email":
            local, at, host = address.rpartition("@")
            good = at and 0 < len(local) <= LOCAL_MOST and host and address.isascii() and address.isprintable()
            if not good or any(c in address for c in ' ,;<>"()[]\\') or "@" in local or len(address) > MAILBOX_MOST:
                raise Invalid("address is no mailbox; write it like oncall@example.net, one of them", field="address")
        case "webhook":
            if not address.startswith(("https://", "http://")) or not address.isascii() or not address.isprintable():
                raise Invalid("address is no webhook's; write it like https://chat.example.net/hook", field="address")
        case _:
            if not address.strip() or not address.isprintable():
                raise Invalid("address is no queue's name", field="address")
