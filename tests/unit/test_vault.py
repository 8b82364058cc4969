"""The vault: rotation, and what the operator is told when keys are wrong."""

import logging
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import BadConfig, Invalid
from provisioner.ports import Vault
from provisioner.vault import KeyVault, generate_key, key_id

SECRET = "pässwörd-7"


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "keys"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def test_what_was_sealed_opens_again() -> None:
    vault: Vault = KeyVault([generate_key()])

    sealed, _ = vault.seal(SECRET)

    assert vault.open(sealed) == SECRET
    assert SECRET.encode() not in sealed


def test_the_first_key_seals_and_every_key_opens() -> None:
    old, new = generate_key(), generate_key()
    sealed_before, old_id = KeyVault([old]).seal(SECRET)
    rotated = KeyVault([new, old])

    sealed_after, new_id = rotated.seal(SECRET)

    assert (old_id, new_id) == (key_id(old), key_id(new))
    assert rotated.key_ids == (new_id, old_id)
    assert rotated.open(sealed_before) == SECRET
    assert KeyVault([new]).open(sealed_after) == SECRET


def test_a_key_id_is_short_and_steady() -> None:
    assert key_id("A" * 43 + "=") == "51643eac"


def test_a_secret_without_its_key_is_the_operators_trouble() -> None:
    sealed, _ = KeyVault([generate_key()]).seal(SECRET)
    vault = KeyVault([generate_key()])

    with pytest.raises(BadConfig, match=f"none of the keys .{vault.key_ids[0]}. opens"):
        vault.open(sealed)


@pytest.mark.parametrize("damage", [b"", b"\x00\xff", b"gAAAAA"])
def test_what_was_never_sealed_does_not_open(damage: bytes) -> None:
    with pytest.raises(BadConfig):
        KeyVault([generate_key()]).open(damage)


def test_an_altered_secret_does_not_open() -> None:
    vault = KeyVault([generate_key()])
    sealed, _ = vault.seal(SECRET)

    with pytest.raises(BadConfig):
        vault.open(sealed[:-8] + b"AAAAAA==")


def test_a_key_file_holds_one_key_a_line(key_file: Callable[..., Path]) -> None:
    new, old = generate_key(), generate_key()
    path = key_file(f"# rotated in May\n{new}\r\n\n  {old}\n")

    assert KeyVault.from_file(path).key_ids == (key_id(new), key_id(old))


def test_a_group_may_read_the_key_file(key_file: Callable[..., Path]) -> None:
    assert KeyVault.from_file(key_file(generate_key(), mode=0o640)).key_ids


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_key_file_that_everybody_may_open_is_refused(key_file: Callable[..., Path], mode: int) -> None:
    path = key_file(generate_key(), mode=mode)

    with pytest.raises(BadConfig, match="type `chmod o= "):
        KeyVault.from_file(path)


def test_a_missing_key_file_is_told_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"there is no .*; make one with `provisioner key generate FILE`"):
        KeyVault.from_file(tmp_path / "keys")


def test_what_is_to_be_typed_makes_a_good_key_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        KeyVault([])
    command = str(caught.value).split("`")[1]
    path = tmp_path / "keys"
    typed = command.replace("provisioner ", f"{sys.executable} -m provisioner ").replace("FILE", shlex.quote(str(path)))

    subprocess.run(["/bin/sh", "-c", typed], check=True)

    assert KeyVault.from_file(path).key_ids


KEY = "k" * 43 + "="


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "hunter2-hunter2", KEY[:-1], KEY + "=="])
def test_what_is_no_key_is_told_without_repeating_it(key_file: Callable[..., Path], text: str) -> None:
    with pytest.raises(BadConfig, match="make one with") as caught:
        KeyVault.from_file(key_file(text))

    assert text == "" or text.strip() not in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff\xfe", "ключ".encode(), b"#" * 100_000])
def test_another_kind_of_file_is_no_key_file(key_file: Callable[..., Path], raw: bytes) -> None:
    with pytest.raises(BadConfig, match="is no file of keys"):
        KeyVault.from_file(key_file(raw))


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="can't be read"):
        KeyVault.from_file(tmp_path)


def test_stray_characters_make_no_key() -> None:
    key = generate_key()

    with pytest.raises(BadConfig, match="key 2 of 2 is malformed"):
        KeyVault([key, key[:20] + "!" + key[20:]])


def test_half_a_character_is_refused_without_the_secret() -> None:
    with pytest.raises(Invalid) as caught:
        KeyVault([generate_key()]).seal("hunter2\ud800")

    assert caught.value.__suppress_context__
    assert "hunter2" not in str(caught.value)


def test_the_vault_never_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vault = KeyVault.from_text(generate_key())

    vault.open(vault.seal(SECRET)[0])

    assert caplog.records == []
