"""
Encryption at rest for credentials and one-time passwords; touches its key file and nothing else.

Never logs, and no message of its errors holds a key or a clear text.
"""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from provisioner.errors import BadConfig, Invalid

VARIABLE = "PROVISIONER_SECRET_KEY_FILE"
MAKE_ONE = f"make one with `provisioner key generate FILE` and set {VARIABLE}=FILE"
KEY = re.compile("[A-Za-z0-9_-]{43}=")  #: 32 bytes in URL-safe base64
FILE_BYTES = 65536  #: a key file is a few lines; what is larger is the wrong file


def generate_key() -> str:
    """Make a new key: one line of a key file."""
    return Fernet.generate_key().decode("ascii")


def key_id(key: str) -> str:
    """Give the first 8 hex digits of the key's SHA-256; tells keys apart and gives none away."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()[:8]


class KeyVault:
    """
    `ports.Vault`: the first key seals, every key opens.

    To rotate: put a new key on the first line, restart everything, seal anew what the old key id
    is stored with, then take the old line out.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Hold *keys*, the newest first. Raises `BadConfig` for none, or one that is no key."""
        if not keys:
            raise BadConfig(f"{VARIABLE}: no key; {MAKE_ONE}")
        self._key_ids = tuple(key_id(key) for key in _checked(keys))
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read one key a line, the newest first; empty lines and lines with `#` don't count."""
        lines = (line.strip() for line in text.splitlines())
        return cls([line for line in lines if line and not line.startswith("#")])

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """
        Read a key file.

        Raises:
            BadConfig: it can't be read, everybody may read it, or it holds no good key.
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(FILE_BYTES + 1)
        except FileNotFoundError:
            raise BadConfig(f"{VARIABLE}: there is no {path}; {MAKE_ONE}") from None
        except OSError as error:
            raise BadConfig(f"{VARIABLE}: {path} can't be read: {error.strerror}") from None
        if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
            raise BadConfig(
                f"{VARIABLE}: everybody on this machine may open {path};"
                f" type `chmod o= {path}`, and change the key if others have accounts here"
            )
        if len(raw) > FILE_BYTES or not raw.isascii():
            raise BadConfig(f"{VARIABLE}: {path} is no file of keys; {MAKE_ONE}")
        return cls.from_text(raw.decode("ascii"))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, the sealing one first."""
        return self._key_ids

    def seal(self, clear: str) -> tuple[bytes, str]:
        """Encrypt with the first key; gives ciphertext and the key's id."""
        try:
            return self._fernet.encrypt(clear.encode()), self._key_ids[0]
        except UnicodeEncodeError:  # it would carry the secret along
            raise Invalid("a secret holds half a character (a lone surrogate)") from None

    def open(self, sealed: bytes) -> str:
        """
        Decrypt with whichever key fits.

        Raises:
            BadConfig: none does, or *sealed* was altered; the two can't be told apart.
        """
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise BadConfig(
                f"{VARIABLE}: none of the keys ({', '.join(self._key_ids)}) opens a stored secret;"
                " put the key that sealed it back as a further line"
            ) from None


def _checked(keys: Sequence[str]) -> Sequence[str]:
    """Give *keys* back, or say which one is malformed without repeating it."""
    for number, key in enumerate(keys, start=1):
        if KEY.fullmatch(key) is None:  # Fernet itself would overlook stray characters
            raise BadConfig(
                f"{VARIABLE}: key {number} of {len(keys)} is malformed,"
                f" it has to be 44 characters of base64; {MAKE_ONE}"
            )
    return keys
