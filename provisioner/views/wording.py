"""What a message to people would read like, with sample values; touches nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from provisioner.domain import matters
from provisioner.domain.events import EventKind
from provisioner.domain.matters import PARTS, Kind, Texts, Told

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMES = 3
SAMPLE = Told(
    EventKind.HELD, "install_os: the DCIM says that the install failed", AT,
    data={
        "department": "dc1-hands", "hostname": "alice.example.net", "customer": "c-1001", "user": "alice",
        "equipment": "1U, two power cords", "due": "2026-01-05 12:00 UTC", "asked": "2026-01-02 12:00 UTC",
    },
    department="default", connection="dc1", server="srv-17", claim=3, order="ord-1001", panel="billing", job=7,
    job_kind="open", job_state="failed", by="token billing", step="install_os", reason_class="server",
    racks={"srv-17": "A14 10"},
)  # fmt: skip
#: what stands in a key; a part that is not named here is shown by its name
KEY = {
    "connection": SAMPLE.connection, "step": SAMPLE.step, "class": SAMPLE.reason_class, "by": SAMPLE.by,
    "job_kind": SAMPLE.job_kind, "claim": str(SAMPLE.claim), "department": "dc1-hands", "question": "5",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PreviewView:
    """All that is said of one kind of matter."""

    kind: Kind
    language: str
    subject: str
    open: str
    follow_up: str
    reminder: str
    all_clear: str


def preview(kinds: Sequence[Kind], *, language: str, texts: Texts) -> Sequence[PreviewView]:
    """Show what is said of *kinds* in a language, by the very functions that write the messages."""
    return [_preview(kind, language, texts) for kind in kinds]


def _preview(kind: Kind, language: str, texts: Texts) -> PreviewView:
    wording = matters.wording(texts, language)
    key = ":".join([kind, *(KEY.get(part, part) for part in PARTS[kind])])
    follow_up = matters.text(key, SAMPLE, TIMES, wording)
    return PreviewView(
        kind=kind,
        language=language,
        subject=matters.subject(key, SAMPLE, wording),
        open=matters.text(key, SAMPLE, 1, wording),
        follow_up=follow_up,
        reminder=matters.reminder(follow_up, AT, language, texts),
        all_clear=matters.all_clear(key, TIMES, wording),
    )
