"""
Encryption at rest for credentials and one-time passwords; touches its key file and nothing else.

Never logs, and no message of its errors holds a key or a clear text.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from provisioner.errors import BadConfig, IllegalMove, Invalid, NotFound

VARIABLE = "PROVISIONER_SECRET_KEY_FILE"
MAKE_ONE = f"make one with `provisioner key generate FILE` and set {VARIABLE}=FILE"
KEY = re.compile("[A-Za-z0-9_-]{43}=")  #: 32 bytes in URL-safe base64
FILE_BYTES = 65536  #: a key file is a few lines; what is larger is the wrong file

_Stamp = tuple[int, int, int]  #: what differs once a file was replaced or written: inode, time, size


def generate_key() -> str:
    """Make a new key: one line of a key file."""
    return Fernet.generate_key().decode("ascii")


def key_id(key: str) -> str:
    """Give the first 8 hex digits of the key's SHA-256; tells keys apart and gives none away."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()[:8]


class KeyVault:
    """
    `ports.Vault`: the first key seals, every key opens.

    A key file that changed is read again before the next use, so that keys are rotated while everything runs:
    `provisioner key add`, `key reseal`, `key drop`. A file that can't be read then changes nothing.
    """

    def __init__(self, keys: Sequence[str], *, file: Path | None = None, stamp: _Stamp | None = None) -> None:
        """Hold *keys*, newest first, of a *file* that looked like *stamp*. Raises `BadConfig`."""
        self._held = _held(keys)
        self._file, self._stamp = file, stamp

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read one key a line, the newest first; empty lines and lines with `#` don't count."""
        return cls(_keys(text))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """
        Read a key file.

        Raises:
            BadConfig: it can't be read, everybody may read it, or it holds no good key.
        """
        text, stamp = _read(path)
        return cls(_keys(text), file=path, stamp=stamp)

    def _present(self) -> tuple[tuple[str, ...], MultiFernet]:
        """Give the keys as the file has them now; the old ones while it can't be read."""
        if self._file is not None:
            try:
                if _stamp(self._file.stat()) != self._stamp:
                    text, stamp = _read(self._file)
                    self._held, self._stamp = _held(_keys(text)), stamp
            except (OSError, BadConfig):
                return self._held
        return self._held

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys, the sealing one first."""
        return self._present()[0]

    def seal(self, clear: str) -> tuple[bytes, str]:
        """Encrypt with the first key; gives ciphertext and the key's id."""
        ids, fernet = self._present()
        try:
            return fernet.encrypt(clear.encode()), ids[0]
        except UnicodeEncodeError:  # it would carry the secret along
            raise Invalid("a secret holds half a character (a lone surrogate)") from None

    def open(self, sealed: bytes) -> str:
        """
        Decrypt with whichever key fits.

        Raises:
            BadConfig: none does, or *sealed* was altered; the two can't be told apart.
        """
        ids, fernet = self._present()
        try:
            return fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise BadConfig(
                f"{VARIABLE}: none of the keys ({', '.join(ids)}) opens a stored secret;"
                " put the key that sealed it back as a further line"
            ) from None


class KeyFile:
    """
    The key file as an operator changes it: whole or not at all, owner and mode kept, also while others read it.

    A second change at the same time is refused.
    """

    def __init__(self, path: Path) -> None:
        """Change *path*, which exists."""
        self._path = path

    def ids(self) -> tuple[str, ...]:
        """Give the ids of its keys, the sealing one first. Raises `BadConfig`."""
        return _held(_keys(_read(self._path)[0]))[0]

    def add(self, *, last: bool) -> str:
        """Add a new key; gives its id. The first seals; the *last* only opens, until every machine has it."""
        key = generate_key()

        def change(lines: list[str]) -> list[str]:
            place = len(lines) if last else next(i for i, line in enumerate(lines) if _is_key(line))
            return [*lines[:place], key, *lines[place:]]

        self._change(change)
        return key_id(key)

    def first(self, wanted: str) -> None:
        """Let that key seal from now on. Raises `NotFound`."""

        def change(lines: list[str]) -> list[str]:
            key = self._line(lines, wanted)
            others = [line for line in lines if line != key]
            place = next((i for i, line in enumerate(others) if _is_key(line)), len(others))
            return [*others[:place], key, *others[place:]]

        self._change(change)

    def drop(self, unwanted: str) -> None:
        """Take that key out for ever. Raises `NotFound`, and `IllegalMove` for the one that seals."""

        def change(lines: list[str]) -> list[str]:
            key = self._line(lines, unwanted)
            if key == next(line for line in lines if _is_key(line)):
                raise IllegalMove(f"key {unwanted} is the one that seals; add a new one first")
            return [line for line in lines if line != key]

        self._change(change)

    @staticmethod
    def _line(lines: Sequence[str], wanted: str) -> str:
        found = next((line for line in lines if _is_key(line) and key_id(line) == wanted), None)
        if found is None:
            raise NotFound(f"the key file holds no key {wanted}; see `provisioner key list`")
        return found

    def _change(self, change: Callable[[list[str]], list[str]]) -> None:
        text, _ = _read(self._path)
        _held(_keys(text))
        lines = change([line.strip() for line in text.splitlines()])
        stands = self._path.stat()
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise IllegalMove(f"{self._path} is being changed just now; if not, remove {fresh}") from None
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as output:
                output.write("".join(f"{line}\n" for line in lines))
                os.fchown(output.fileno(), stands.st_uid, stands.st_gid)
                os.fchmod(output.fileno(), stat.S_IMODE(stands.st_mode))
                output.flush()
                os.fsync(output.fileno())
            fresh.rename(self._path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[str, _Stamp]:
    """Give a key file's text, and by what a later change is noticed. Raises `BadConfig`."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            raw = file.read(FILE_BYTES + 1)
    except FileNotFoundError:
        raise BadConfig(f"{VARIABLE}: there is no {path}; {MAKE_ONE}") from None
    except OSError as error:
        raise BadConfig(f"{VARIABLE}: {path} can't be read: {error.strerror}") from None
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IRWXO:
        raise BadConfig(
            f"{VARIABLE}: everybody on this machine may open {path};"
            f" type `chmod o= {path}`, and change the key if others have accounts here"
        )
    if len(raw) > FILE_BYTES or not raw.isascii():
        raise BadConfig(f"{VARIABLE}: {path} is no file of keys; {MAKE_ONE}")
    return raw.decode("ascii"), _stamp(found)


def _is_key(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def _keys(text: str) -> list[str]:
    return [line for line in (line.strip() for line in text.splitlines()) if _is_key(line)]


def _held(keys: Sequence[str]) -> tuple[tuple[str, ...], MultiFernet]:
    """Give ids and keys together, so that both change at once. Raises `BadConfig` for none, or one that is no key."""
    if not keys:
        raise BadConfig(f"{VARIABLE}: no key; {MAKE_ONE}")
    return tuple(key_id(key) for key in _checked(keys)), MultiFernet([Fernet(key) for key in keys])


def _checked(keys: Sequence[str]) -> Sequence[str]:
    """Give *keys* back, or say which one is malformed without repeating it."""
    for number, key in enumerate(keys, start=1):
        if KEY.fullmatch(key) is None:  # Fernet itself would overlook stray characters
            raise BadConfig(
                f"{VARIABLE}: key {number} of {len(keys)} is malformed,"
                f" it has to be 44 characters of base64; {MAKE_ONE}"
            )
    return keys
