"""A service's one-time passwords: read by billing after hand-over, acknowledged, else gone by themselves."""

from dataclasses import dataclass, field
from datetime import datetime

from provisioner.errors import IllegalMove, NotFound
from provisioner.ports import Catalogue, Vault


@dataclass(frozen=True, slots=True)
class ServiceSecrets:
    """What a welcome message needs and nobody keeps."""

    login: str  #: of the customer's DCIM user
    root_password: str | None = field(repr=False)
    panel_password: str | None = field(repr=False)  #: None where billing gave it, so knows it
    gone_at: datetime | None  #: when they are erased if nobody acknowledges them


def read(external_ref: str, *, panel: str, by: str, catalogue: Catalogue, vault: Vault) -> ServiceSecrets:
    """
    Give a service's one-time passwords; every reading is an event of the service.

    Raises:
        NotFound: no such service of *panel*, or they were erased.
        IllegalMove: it is not handed over yet.
    """
    sealed = catalogue.read_secrets(panel, external_ref, by=by)
    if not sealed.handed_over:
        raise IllegalMove(f"service {external_ref!r} is not handed over yet; ask again then")
    if sealed.root is None and sealed.panel is None:
        raise NotFound(f"the one-time passwords of service {external_ref!r} were erased")
    return ServiceSecrets(
        login=sealed.login,
        root_password=vault.open(sealed.root) if sealed.root is not None else None,
        panel_password=vault.open(sealed.panel) if sealed.panel is not None else None,
        gone_at=sealed.expires_at,
    )


def erase(external_ref: str, *, panel: str, by: str, catalogue: Catalogue) -> bool:
    """
    Acknowledge and erase them; safe to repeat. Says whether there were any.

    Raises:
        NotFound: no such service of *panel*.
        IllegalMove: it is not handed over yet.
    """
    return catalogue.erase_secrets(panel, external_ref, by=by)
