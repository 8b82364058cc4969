"""Kind of desk → desk; touches nothing by itself."""

from collections.abc import Mapping

from provisioner.errors import BadConfig
from provisioner.ports import Desk

#: kind → what to set
HOW = {
    "email": "PROVISIONER_SMTP_URL and PROVISIONER_SMTP_FROM",
    "rt": "PROVISIONER_RT_URL and PROVISIONER_RT_TOKEN_FILE",
    "webhook": "PROVISIONER_WEBHOOK_SECRET_FILE",
}


class DeskRegistry:
    """Satisfies `ports.Desks`."""

    def __init__(self, desks: Mapping[str, Desk | None]) -> None:
        """Know *desks*; None for a kind that is not set up."""
        self._desks = dict(desks)

    def get(self, kind: str) -> Desk:
        """Give the desk of a kind. Raises `BadConfig` for one that is not set up."""
        found = self._desks.get(kind)
        if found is None:
            how = f": set {HOW[kind]}" if kind in HOW else ""
            raise BadConfig(f"the desk {kind!r} is not set up{how}")
        return found
