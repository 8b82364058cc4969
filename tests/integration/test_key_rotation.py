"""A new key while everything runs: old and new seal and open side by side, then the old one goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.cli import main, processes
from provisioner.cli.codes import Code
from provisioner.drivers.fake import serve_fake
from provisioner.errors import BadConfig
from provisioner.vault import KeyFile, KeyVault
from tests.house import ROOT, SHORT_PATIENCE, House
from tests.site import Site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "secret.key"
    assert main.run(main.make(), ["key", "generate", str(made)]) == Code.OK
    return made


def test_a_running_process_takes_a_changed_key_file_up_by_itself(file: Path) -> None:
    vault = KeyVault.from_file(file)
    old_secret, old = vault.seal("old")

    new = KeyFile(file).add(last=False)

    assert vault.key_ids == (new, old)
    assert vault.seal("new")[1] == new
    assert vault.open(old_secret) == "old"


def test_a_key_that_comes_last_opens_and_does_not_seal(file: Path) -> None:
    vault = KeyVault.from_file(file)
    old = vault.key_ids[0]

    new = KeyFile(file).add(last=True)

    assert vault.key_ids == (old, new)
    assert vault.seal("x")[1] == old
    KeyFile(file).first(new)
    assert vault.seal("x")[1] == new


@pytest.mark.parametrize("ill", ["", "no key\n", "open"])
def test_a_file_that_can_not_be_read_changes_nothing_until_it_can(file: Path, ill: str) -> None:
    vault = KeyVault.from_file(file)
    sealed, old = vault.seal("kept")
    good = file.read_text()
    if ill == "open":
        file.chmod(0o644)
    else:
        file.write_text(ill)

    assert vault.open(sealed) == "kept"
    assert vault.seal("x")[1] == old
    file.write_text(good)
    file.chmod(0o600)
    new = KeyFile(file).add(last=False)
    assert vault.key_ids == (new, old)


def test_a_change_keeps_comments_owner_and_mode_and_leaves_nothing_behind(file: Path) -> None:
    file.write_text(f"# made by alice\n{file.read_text()}# the end\n")
    file.chmod(0o640)

    KeyFile(file).add(last=False)

    lines = file.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("# made by alice", "# the end", 4)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in file.parent.iterdir()] == [file.name]


@pytest.fixture
def site(database_url: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(database_url)
    made.vault = KeyVault.from_file(file)
    made.connect()
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", database_url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY_FILE", str(file))
    yield made
    made.database.close()


def say(*words: str) -> int:
    return main.run(main.make(), ["key", *words])


def test_the_commands_rotate_a_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    old = site.vault.key_ids[0]
    site.database.rows("INSERT INTO secret (ciphertext, key_id) SELECT ciphertext, key_id FROM secret, "
                       "generate_series(1, 250)")  # fmt: skip

    assert say("add") == Code.OK
    new = site.vault.key_ids[0]
    assert say("drop", old) == Code.REFUSED
    assert "251 stored secrets are sealed by key" in capsys.readouterr().err
    assert say("reseal") == Code.OK
    assert say("drop", new) == Code.REFUSED
    assert say("drop", old) == Code.OK
    capsys.readouterr()
    assert say("list", "--json") == Code.OK

    assert json.loads(capsys.readouterr().out) == [{"key": new, "does": "seals", "secrets": 251}]
    found = site.database.rows("SELECT ciphertext, key_id FROM secret")
    assert {row["key_id"] for row in found} == {new}
    assert {KeyVault.from_text(Path(file_of(site)).read_text()).open(bytes(row["ciphertext"])) for row in found} == {
        "secret"
    }


def file_of(site: Site) -> str:
    assert site.vault._file
    return str(site.vault._file)


def test_a_key_that_is_missing_is_said(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.database.rows("UPDATE secret SET key_id = '12345678'")

    assert say("list") == Code.FAILED
    assert "IS MISSING" in capsys.readouterr().out
    assert say("drop", "12345678") == Code.NOT_FOUND


def start_far(site: House, key_file: Path) -> None:
    """Start a worker as on another machine, with a key file of its own."""
    argv = processes.worker_argv("steps,observe", 2, "steps-far")
    site.children.start(
        "steps-far",
        ["tests.fake_workers" if word == "workers.app" else word for word in argv],
        env={**site._settings, "PROVISIONER_SECRET_KEY_FILE": str(key_file)},
        log=site.log("steps-far"),
        cwd=ROOT,
        restart=True,
    )


@pytest.mark.long
@pytest.mark.timeout(240)
def test_workers_with_the_old_and_the_new_key_both_work_and_the_old_one_can_go(
    database_url: str, state_dir: Path, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = file, tmp_path / "far.key"
    shutil.copy(near, far)
    site = House(database_url, state_dir, "keys")
    site.patience = {**SHORT_PATIENCE, "PROVISIONER_SECRET_KEY_FILE": str(near)}
    here, there = KeyVault.from_file(near), KeyVault.from_file(far)
    old = here.key_ids[0]
    site.vault = here
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", database_url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY_FILE", str(near))
    try:
        with serve_fake(site.world, site.address):
            try:
                site.start(flower=False)
                start_far(site, far)
                for ref in range(101, 113):
                    site.world.add_server(str(ref))
                site.connect(url=site.address)
                site.package()

                def orders(stage: str) -> None:
                    """Have an order sealed on either machine end well, the connection's password opened anew."""
                    site.database.rows("UPDATE connection SET revision = revision + 1")
                    placed = []
                    for vault, where in ((here, "near"), (there, "far")):
                        site.vault = vault
                        placed.append(site.order(f"{stage}-{where}").job_id)
                    site.wait(site.ended(*placed), 60)
                    assert {site.job(job)["state"] for job in placed} == {"succeeded"}, site.trail()

                orders("before")
                assert say("add", "--last") == Code.OK
                shutil.copy(near, far)
                orders("opens")
                new = here.key_ids[1]
                assert say("first", new) == Code.OK
                orders("one-seals")
                assert (here.key_ids[0], there.key_ids[0]) == (new, old)
                shutil.copy(near, far)
                assert say("reseal") == Code.OK
                assert say("drop", old) == Code.OK
                shutil.copy(near, far)
                orders("after")

                assert (here.key_ids, there.key_ids) == ((new,), (new,))
                assert {row["key_id"] for row in site.database.rows("SELECT key_id FROM secret")} == {new}
                assert "Traceback" not in site.log("steps").read_text() + site.log("steps-far").read_text()
                with pytest.raises(BadConfig):
                    KeyVault.from_file(far).open(KeyVault.from_text(site.key).seal("x")[0])
            finally:
                site.children.stop(grace=5)
    finally:
        site.database.close()
