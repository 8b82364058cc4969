"""
Messages as signed webhooks, with which anything else can be joined; touches nothing but the sender that it is given.

Whether a repeated message is kept once is the receiver's to see to: it comes again under the same `Webhook-Id`.
"""

import json
from dataclasses import dataclass, field

from provisioner.errors import BadConfig, BadValue, Invalid, Unreachable
from provisioner.ports import DeliveryKind, DeskCapabilities, Message, TicketReading, TicketStatus, Webhooks

SECRET_LEAST = 16  #: characters
REF_MOST = 200  #: characters that are kept of the receiver's own name of a ticket


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What messages are signed with."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what anybody could guess. Raises `BadConfig`."""
        if len(self.text) < SECRET_LEAST:
            raise BadConfig(f"PROVISIONER_WEBHOOK_SECRET_FILE holds less than {SECRET_LEAST} characters")


class WebhookDesk:
    """Satisfies `ports.Desk`."""

    capabilities = DeskCapabilities(dedup=False, comment=True, close=True, status=False)

    def __init__(self, secret: WebhookSecret, webhooks: Webhooks) -> None:
        """Sign with *secret*, send by *webhooks*."""
        self._secret, self._webhooks = secret, webhooks

    def check(self, to: str) -> None:
        """Look whether *to* is an address that may be called, and its name one that is known; sends nothing."""
        try:
            trouble = self._webhooks.check(to)
        except Invalid as error:
            raise BadValue(str(error)) from None
        if trouble:
            raise Unreachable(trouble)

    def open(self, message: Message) -> str:
        """Tell of a new ticket; returns what the receiver calls it, our own name of it where it says nothing."""
        return self._ref(self._post(DeliveryKind.OPEN, "", message)) or message.ticket or message.key

    def comment(self, ref: str, message: Message, *, reopen: bool = False) -> None:
        """Tell more of ticket *ref*; that it is open again if it was closed is up to the receiver."""
        del reopen
        self._post(DeliveryKind.COMMENT, ref, message)

    def close(self, ref: str, message: Message) -> None:
        """Tell that the matter of ticket *ref* is over; what becomes of it is up to the receiver."""
        self._post(DeliveryKind.CLOSE, ref, message)

    def status(self, ref: str) -> TicketReading:
        """Say that it can't be known."""
        return TicketReading(TicketStatus.UNKNOWN)

    def _post(self, kind: DeliveryKind, ref: str, message: Message) -> bytes:
        told = {
            "id": message.key,
            "kind": kind.value,
            "ticket": message.ticket or message.key,
            "ref": ref,
            "subject": message.subject,
            "text": message.text,
            "language": message.language,
        }
        body = json.dumps(told, ensure_ascii=False).encode()
        return self._webhooks.post(message.to, secret=self._secret.text, key=message.key, body=body)

    @staticmethod
    def _ref(answer: bytes) -> str:
        """Read the receiver's own name of a ticket, "" where its answer holds none that we can keep."""
        try:
            said = json.loads(answer)
        except ValueError:
            return ""
        ref = said.get("ref") if isinstance(said, dict) else None
        return ref if isinstance(ref, str) and len(ref) <= REF_MOST and ref.isprintable() else ""
