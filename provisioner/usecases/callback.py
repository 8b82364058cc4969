"""Callbacks: a billing panel hears by itself what became of its services, by a signed webhook; delays no job."""

import secrets
from collections.abc import Callable
from datetime import timedelta

import structlog

from provisioner.domain.naming import storable
from provisioner.domain.touch import OUT_OF_TIME
from provisioner.errors import BadConfig, Invalid, RemoteError
from provisioner.ports import Callback, Callbacks, Vault, Waker, Webhooks

log = structlog.get_logger()
SECRET_BYTES = 32
PANEL_MOST, URL_MOST = 100, 1000


def wake(*, callbacks: Callbacks, waker: Waker) -> None:
    """Ask for the sending of what is due, once a panel; one statement."""
    for panel in callbacks.ask():
        waker.callback(panel)


def send(
    panel: str,
    *,
    owner: str,
    callbacks: Callbacks,
    webhooks: Webhooks,
    vault: Vault,
    body: Callable[[Callback], bytes],
    waker: Waker,
    interrupted: tuple[type[BaseException], ...] = (),
) -> str:
    """
    Tell *panel* of the service that is longest due, outside any transaction; returns what came of it.

    *body* reads the service as it is now. At least once: one whose answer was lost, or whose sender was killed, comes
    again under the same id.
    """
    callback = callbacks.take(panel, owner)
    if callback is None:
        return "nothing to send"
    try:
        webhooks.post(callback.url, secret=vault.open(callback.secret), key=callback.key, body=body(callback))
    except interrupted:
        why = OUT_OF_TIME
    except (RemoteError, BadConfig) as error:
        why = str(error)
    except Exception as error:
        log.exception("callback_crashed", panel=panel, service_id=callback.service_id)
        why = f"unforeseen: {type(error).__name__}"
    else:
        log.info("callback_sent", panel=panel, service_id=callback.service_id, tries=callback.tries)
        callbacks.sent(callback)
        for one in callbacks.ask(panel):
            waker.callback(one)
        return f"service {callback.service_id}: {panel} was told"
    log.warning("callback_put_off", panel=panel, service_id=callback.service_id, tries=callback.tries, why=why)
    callbacks.put_off(callback, why)
    return f"service {callback.service_id}: put off: {why}"


def save(
    panel: str, url: str, *, new_secret: bool, callbacks: Callbacks, webhooks: Webhooks, vault: Vault
) -> tuple[str, str]:
    """
    Save where a billing panel hears of its services; safe to repeat.

    Returns the secret, shown this once, "" where the old one is kept; and why the address could not be called now,
    "" when it can.

    Raises:
        Invalid: no such panel, or no address; nothing is saved.
    """
    storable(panel, field="panel", longest=PANEL_MOST)
    storable(url, field="url", longest=URL_MOST)
    trouble = webhooks.check(url)
    callbacks.check_panel(panel)
    secret = secrets.token_urlsafe(SECRET_BYTES) if new_secret or not callbacks.has_secret(panel) else ""
    callbacks.put(panel, url, vault.seal(secret) if secret else None)
    return secret, trouble


def delete(panel: str, *, callbacks: Callbacks) -> None:
    """Tell a panel nothing more; what waits for it is forgotten. Raises `NotFound`."""
    callbacks.delete(panel)


def replay(
    panel: str,
    *,
    service: str | None = None,
    since: timedelta | None = None,
    failed: bool = False,
    callbacks: Callbacks,
    waker: Waker,
) -> int:
    """
    Tell a panel anew how its services stand: one, those to which something happened since, those given up, or all.

    Each comes under a new id with the number that it has. Returns how many.

    Raises:
        NotFound: the panel has no callback, or no such service.
        Invalid: one service and a choice of several at once.
    """
    if service is not None and (since is not None or failed):
        raise Invalid("name one service, or say which of them all: not both", field="service")
    count = callbacks.replay(panel, ref=service, since=since, failed=failed)
    for one in callbacks.ask(panel):
        waker.callback(one)
    return count
