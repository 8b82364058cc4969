"""Rotate the key that seals stored secrets, while everything runs; no clear text leaves this file."""

from collections.abc import Sequence

from provisioner.errors import IllegalMove
from provisioner.ports import Keys, Vault


def reseal(present: str, *, keys: Keys, vault: Vault) -> int:
    """
    Seal anew, by the key that seals now (of id *present*), whatever another sealed; returns how many.

    In small commits: safe to repeat, and to break off.

    Raises:
        BadConfig: a secret that no key of the file opens.
    """
    done, after = 0, 0
    while True:
        count, last = keys.reseal(present, lambda sealed: vault.seal(vault.open(sealed)), after)
        done += count
        if last is None:
            return done
        after = last


def check_unused(key: str, known: Sequence[str], *, keys: Keys) -> None:
    """
    Return for a key that sealed nothing that is stored now.

    Raises:
        IllegalMove: it did; the sentence says how many.
    """
    count = keys.by_key().get(key, 0) if key in known else 0
    if count:
        raise IllegalMove(f"{count} stored secrets are sealed by key {key}; type `provisioner key reseal` first")
