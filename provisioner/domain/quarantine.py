"""When a server may leave or enter quarantine by a person's word: one sentence for each refusal; pure."""

from dataclasses import dataclass

STRIKES_MOST = 3  #: strikes that were the server's own; from then on a release must be asked for twice


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands with us."""

    connection_id: int
    claim: str  #: state of the live claim on it, "" for none
    claim_reason: str
    order: str  #: whose it is, in words; "" for nobody's
    job_id: int | None  #: the job that is at work on the claim
    strikes: int  #: its own, now and before
    gone: bool  #: the last whole list lacks it


def release_refusal(standing: Standing, *, anyway: bool) -> str:
    """Say why a server can't be given back to stock now; "" when it can be tried."""
    if not standing.claim:
        return "it is not in quarantine; nothing of ours is on it"
    if standing.claim != "quarantined":
        return f"it is {_holder(standing)}, not in quarantine"
    if standing.job_id is not None:
        return f"job {standing.job_id} is at work on it; wait for its end, or cancel it"
    if standing.strikes >= STRIKES_MOST and not anyway:
        return f"it was quarantined {standing.strikes} times by its own fault; to release it all the same, say --anyway"
    return ""


def quarantine_refusal(standing: Standing) -> str:
    """Say why a server can't be taken out of sale now; "" when it can be tried. Its owner is read by the job."""
    if standing.claim == "quarantined":
        return f"it is in quarantine already: {standing.claim_reason or 'no reason was kept'}"
    if standing.claim:
        return f"it is {_holder(standing)}; close or cancel that instead"
    if standing.gone:
        return "the data centre's list does not hold it any more"
    return ""


def _holder(standing: Standing) -> str:
    words = {"held": "reserved for", "handed": "handed over to", "releasing": "being released from"}
    return f"{words.get(standing.claim, standing.claim)} {standing.order or 'a job of its own'}"
