"""Findings as people read them: what, on which server, what it costs, and how it is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.domain.audit import Finding, FindingKind
from provisioner.ports import Facts, Reads


@dataclass(frozen=True, slots=True)
class FindingView:
    """One thing that is wrong."""

    connection: str
    server: str  #: "" where it is about a user
    kind: FindingKind
    evidence: str
    costs: str  #: or risks
    mend: Sequence[str]  #: commands, and steps by hand
    first_at: datetime | None = None  #: of a kept one: when it was first seen
    last_at: datetime | None = None


def finding(found: Finding) -> FindingView:
    """Give a finding with its words."""
    return FindingView(found.connection, found.server, found.kind, found.evidence, found.costs, found.mend)


def kept(connection: str | None, *, reads: Reads) -> Sequence[FindingView]:
    """List what the nightly audits found and that was still there at the last."""
    return [_kept(row) for row in reads.findings(connection)]


def _kept(row: Facts) -> FindingView:
    found = Finding(FindingKind(row["kind"]), row["connection"], row["server"], row["evidence"], row["key"])
    return FindingView(
        found.connection, found.server, found.kind, found.evidence, found.costs, found.mend, row["first_at"],
        row["last_at"],
    )  # fmt: skip
