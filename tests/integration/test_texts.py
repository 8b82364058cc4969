"""Messages in Russian and in an operator's own words, as a mail server takes them; troubles that no event tells of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from email.header import decode_header
from pathlib import Path

import pytest
from pydantic import SecretStr

from provisioner import bootstrap, config
from provisioner.cli import main
from provisioner.cli.codes import Code
from provisioner.domain.events import EventKind
from provisioner.domain.matters import Department, Kind
from provisioner.domain.wording.texts import SHIPPED, replaced
from provisioner.errors import BadConfig
from provisioner.store import connections
from provisioner.store.tickets import TicketsStore
from provisioner.usecases import tell
from provisioner.vault import generate_key
from tests.fakes import mail as fake
from tests.integration.test_tickets import AT_ONCE, ONCALL, Post
from tests.site import SHORT

HANDS = "hands@example.net"
#: tried again only when the test says so
BY_HAND = replace(SHORT, tell_again=3000.0, tell_gather=0.001, tell_stuck=2)


@pytest.fixture
def post(database_url: str) -> Iterator[Post]:
    post = Post(database_url, AT_ONCE)
    post.site.connect()
    with post.server.up():
        in_charge(post)
        yield post
    post.site.database.close()


def in_charge(post: Post, name: str = "default", address: str = ONCALL, language: str = "ru") -> None:
    tell.save_department(Department(name, address, language=language), tickets=post.site.tickets, desks=post.desks())


# --- Russian --------------------------------------------------------------------------------------------------------


def test_a_russian_message_is_properly_encoded_from_the_first_to_the_all_clear(post: Post) -> None:
    post.restrict()
    post.tell()
    post.heal()
    post.tell()

    first, last = post.mails
    headers = post.server.raw[0].partition(b"\r\n\r\n")[0]
    line = next(one for one in headers.replace(b"\r\n ", b" ").split(b"\r\n") if one.startswith(b"Subject: "))
    decoded = "".join(
        part.decode(charset or "ascii") if isinstance(part, bytes) else part
        for part, charset in decode_header(line.decode("ascii").removeprefix("Subject: "))
    )
    assert b"=?utf-8?" in line
    assert decoded == "[1] dc1: шаг install_os не проходит по вине площадки, заказы ждут"
    assert all(raw.isascii() for raw in post.server.raw)
    assert [mail.get_content_charset() for mail in post.mails] == ["utf-8", "utf-8"]
    assert (
        post.texts[0].splitlines()[2]
        == "Что случилось: install_os fails for the place's fault: the install server is down"
    )
    assert "Что делать:" in post.texts[0]
    assert last["References"] == first["Message-ID"]
    assert last["Subject"] == f"Re: {decoded}"
    assert post.texts[1].strip() == SHIPPED["ru"].words[Kind.RESTRICTED].over.format(
        connection="dc1", step="install_os"
    )


def test_a_reminder_is_russian_and_says_all_again(post: Post) -> None:
    post.restrict()
    post.tell()
    for _ in range(2):
        post.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h'")
        post.tell()

    assert len(post.mails) == 3
    assert post.texts[2].startswith("Всё ещё не устранено; открыто 20")
    assert post.texts[2].count("Всё ещё") == 1
    assert post.texts[0].strip() in post.texts[2]


def test_a_place_that_comes_and_goes_says_in_russian_how_often(post: Post) -> None:
    for _ in range(2):
        post.restrict()
        post.tell()
        post.heal()
        post.tell()

    assert SHIPPED["ru"].labels.count.format(count=2) in post.texts[-1]
    assert "больше не сдерживается" in post.texts[-1]


def test_each_department_reads_its_own_language_also_of_an_open_ticket(post: Post) -> None:
    post.site.connect("dc2")
    in_charge(post, "hands", HANDS, "en")
    post.site.database.rows("UPDATE connection SET in_charge = (SELECT id FROM department WHERE name = 'hands') "
                            "WHERE name = 'dc2'")  # fmt: skip
    for connection in (1, 2):
        with post.site.database.transaction() as session:
            connections.pause(session, connection, "away", "the place is away")
    post.tell()
    in_charge(post, language="en")
    post.change(lambda session: connections.resume(session, 1))
    post.tell()

    said = [(mail["To"], fake.text(mail)) for mail in post.mails]
    assert [to for to, _ in said] == [ONCALL, HANDS, ONCALL]
    assert "dc1: обращения приостановлены, заказы ждут" in said[0][1]
    assert "dc2: nothing is called there, orders wait" in said[1][1]
    assert "dc1: it is called again" in said[2][1]


# --- an operator's own words ----------------------------------------------------------------------------------------


def test_an_operator_s_words_are_sent_and_what_is_filled_in_stays_data(post: Post) -> None:
    given = {"restricted": {"subject": "Дежурному: {connection}, {step}", "todo": ["Звонить.\x00 {{{step}}}"]}}
    post.site.tickets = TicketsStore(post.site.database, post.site.spans, replaced({"ru": given}))
    post.restrict(reason="{connection} {0.__class__}")
    post.tell()
    post.heal()
    post.tell()

    assert post.mails[0]["Subject"] == "[1] Дежурному: dc1, install_os"
    assert "  Звонить. {install_os}" in post.texts[0]
    assert "fault: {connection} {0.__class__}" in post.texts[0]
    assert "больше не сдерживается" in post.texts[1]  # what was not given is ours


@pytest.mark.parametrize("language", list(SHIPPED))
def test_what_an_event_carries_beside_its_words_is_in_no_message(post: Post, language: str) -> None:
    in_charge(post, language=language)
    kinds = (EventKind.CONNECTION_RESTRICTED, EventKind.CONNECTION_PAUSED, EventKind.AUDIT_FOUND)
    for kind in (*kinds, EventKind.HELD, EventKind.RELEASE_INCOMPLETE, EventKind.INSTALLATION_HALTED):
        data = {"step": "ping", "password": "planted-password", "link": "https://planted.example.net/?auth=planted"}
        with post.site.database.transaction() as session:
            connections.tell(session, 1, kind, "it stands", **data)
    post.tell()

    stored = post.site.database.rows("SELECT subject, text FROM ticket JOIN delivery ON ticket_id = ticket.id")
    assert len({row["subject"] for row in stored}) == 6
    assert "planted" not in str(stored)
    assert "planted" not in "".join(post.texts) + "".join(str(mail) for mail in post.mails)


# --- a quarantine that grows ----------------------------------------------------------------------------------------


def strike(post: Post, *servers: str, ago: str = "0 s", step: str = "install_os", site: bool = False) -> None:
    """Write down that servers went out of sale, as the engine does."""
    for server in servers:
        post.site.database.rows(
            "WITH c AS (INSERT INTO claim (connection_id, server_ref, state, note_token) "
            "VALUES (1, %(server)s, 'quarantined', %(server)s) RETURNING id) "
            "INSERT INTO quarantine (connection_id, server_ref, claim_id, step, reason, site, at) "
            "SELECT 1, %(server)s, id, %(step)s, 'the disk is dead', %(site)s, "
            "clock_timestamp() - %(ago)s::interval FROM c",
            server=server, step=step, site=site, ago=ago,
        )  # fmt: skip


def back(post: Post, server: str) -> None:
    post.site.database.rows("UPDATE quarantine SET ended_at = clock_timestamp() WHERE server_ref = %(s)s", s=server)


def test_five_servers_within_a_day_are_one_message_and_one_all_clear(post: Post) -> None:
    strike(post, "101", "102", "103", "104")
    post.tell()
    before = list(post.mails)
    strike(post, "105", "106")
    post.tell()
    post.tell()
    back(post, "101")
    post.tell()
    during = len(post.mails)
    back(post, "102")
    post.tell()
    post.tell()

    assert before == []
    assert during == 1
    assert post.mails[0]["Subject"] == "[1] dc1: карантин растёт: 101, 102, 103, 104, 105, 106"
    assert "Что случилось: 101: the disk is dead; 102: the disk is dead" in post.texts[0]
    assert "осталось меньше предела" in post.texts[1]
    assert len(post.mails) == 2
    assert post.tickets() == [("spreading:dc1", "closed", 1)]


def test_what_is_a_day_old_the_place_s_fault_or_by_hand_does_not_count(post: Post) -> None:
    strike(post, "101", "102", "103", "104")
    strike(post, "105", ago="25 h")
    strike(post, "106", site=True)
    strike(post, "107", step="")
    post.tell()

    assert post.tickets() == []


def test_servers_that_stay_out_of_sale_keep_it_open_for_days(post: Post) -> None:
    strike(post, "101", "102", "103", "104", "105", ago="23 h")
    post.tell()
    post.site.database.rows("UPDATE quarantine SET at = at - interval '3 d'")
    post.site.database.rows("UPDATE ticket SET opened_at = opened_at - interval '3 d'")
    post.tell()

    assert post.tickets() == [("spreading:dc1", "open", 1)]


# --- messages that are stuck ----------------------------------------------------------------------------------------


@pytest.fixture
def stuck(database_url: str) -> Iterator[Post]:
    """Have a mailbox that is refused, and a message to it."""
    post = Post(database_url, BY_HAND)
    post.site.connect()
    post.server.recipient = lambda to: "250 yes" if to == ONCALL else "550 no such mailbox"
    with post.server.up():
        in_charge(post)
        in_charge(post, "hands", "gone@example.net")
        post.site.database.rows("UPDATE connection SET in_charge = (SELECT id FROM department WHERE name = 'hands')")
        post.restrict()
        post.tell()
        yield post
    post.site.database.close()


def again(post: Post) -> None:
    """Let the time pass after which it is tried again."""
    post.site.database.rows("UPDATE delivery SET due_at = clock_timestamp() WHERE sent_at IS NULL")
    post.tell()
    post.tell()


def test_messages_that_one_department_does_not_get_another_hears_of_until_it_does(stuck: Post) -> None:
    early = stuck.tickets()
    again(stuck)
    again(stuck)
    during = [mail["To"] for mail in stuck.mails]
    in_charge(stuck, "hands", ONCALL)
    stuck.tell()
    stuck.tell()

    assert early == [("restricted:dc1:install_os", "open", 1)]
    assert during == [ONCALL]
    assert stuck.mails[0]["Subject"] == "[2] сообщения для hands не принимаются и ждут"
    assert "550 no such mailbox" in stuck.texts[0]
    assert any("Сообщения для hands снова принимаются." in text for text in stuck.texts[1:])
    assert ("stuck:hands", "closed", 1) in stuck.tickets()
    assert len(stuck.mails) == 3


@pytest.mark.parametrize("refused", ["everybody's", "the same"])
def test_where_no_other_mailbox_takes_anything_nobody_is_told_in_vain(stuck: Post, refused: str) -> None:
    if refused == "the same":
        stuck.site.database.rows("UPDATE department SET address = 'gone@example.net'")
    else:
        stuck.server.recipient = lambda _: "550 no such mailbox"
        halt = (
            "INSERT INTO event (connection_id, seq, kind, text) VALUES (1, 900, 'installation_halted', 'it went back')"
        )
        stuck.site.database.rows("UPDATE connection SET in_charge = NULL")
        stuck.site.database.rows(halt)
        stuck.site.database.rows("UPDATE installation SET halted = 'it went back'")
        stuck.tell()
    again(stuck)
    again(stuck)

    assert [matter for matter, _, _ in stuck.tickets() if matter.startswith("stuck")] == []


# --- the file, and the preview --------------------------------------------------------------------------------------

BAD = {
    "missing": (None, "it can't be read: No such file or directory"),
    "latin": ("[ru.held]\nsubject = 'й'\n".encode("cp1251"), "it is not UTF-8 in line 2"),
    "no toml": (b"[ru.held\n", "it is no TOML: "),
    "twice": (b"[ru.held]\nsubject = 'a'\nsubject = 'b'\n", "it is no TOML: "),
    "deep": (b"a = " + b"[" * 100_000, "it is no TOML: "),
    "long": (b"#" * 1_000_001, "it is longer than 1000000 bytes"),
    "field": (
        b"[ru.held]\nsubject = '{pasword}'\n",
        "ru.held.subject: there is no field {pasword}; there are {connection},",
    ),
    "kind": (b"[ru.helt]\nsubject = 'x'\n", "ru.helt: there is no kind 'helt'; there are restricted, paused,"),
    "language": (b"[de.held]\nsubject = 'x'\n", "de: there is no language 'de'; there are en, ru"),
    "type": (b"[ru.held]\ntodo = 'x'\n", "ru.held.todo must be a list of 1 to 40 lines"),
}
every_bad_file = pytest.mark.parametrize("bad", list(BAD))


def written(folder: Path, bad: str) -> tuple[Path, str]:
    content, sentence = BAD[bad]
    file = folder / "texts.toml"
    if content is not None:
        file.write_bytes(content)
    return file, f"{file}: {sentence}"


@every_bad_file
def test_a_bad_file_stops_every_process_at_its_start(tmp_path: Path, bad: str) -> None:
    file, sentence = written(tmp_path, bad)
    url = "postgresql://nobody@127.0.0.1:1/none"
    settings = config.Settings(database_url=url, secret_key=SecretStr(generate_key()), texts_file=file)

    with pytest.raises(BadConfig) as refused:
        bootstrap.build(settings)

    assert str(refused.value).startswith(f"PROVISIONER_TEXTS_FILE {sentence}")
    assert "\n" not in str(refused.value)


@every_bad_file
def test_a_bad_file_that_is_tried_is_refused_with_the_same_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str
) -> None:
    file, sentence = written(tmp_path, bad)

    code = main.run(main.make(), ["ticket", "preview", "held", "--texts", str(file)])

    said = capsys.readouterr()
    assert code == Code.USAGE
    assert f"--texts {sentence}" in said.err
    assert said.out == ""


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="it can't be read: Is a directory"):
        bootstrap.texts(tmp_path)


@pytest.mark.parametrize("language", list(SHIPPED))
@pytest.mark.parametrize("kind", list(Kind))
def test_a_preview_shows_all_that_is_said_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: Kind, language: str
) -> None:
    monkeypatch.delenv("PROVISIONER_DATABASE_URL", raising=False)
    labels, words = SHIPPED[language].labels, SHIPPED[language].words[kind]

    code = main.run(main.make(), ["ticket", "preview", kind.value, "--language", language])

    said = capsys.readouterr().out
    assert code == Code.OK
    assert said.startswith(f"{kind}: ")
    assert [line for line in said.splitlines() if line.startswith("  ---")] == [
        "  --- open",
        "  --- follow-up",
        "  --- reminder",
        "  --- all-clear",
    ]
    assert said.count(f"{labels.todo}:") == 3
    assert said.count(labels.count.format(count=3)) == 3
    assert words.over.rpartition("}")[2] in said
    assert "{" not in said


def test_a_preview_uses_the_setting_or_the_file_that_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("set", "tried"):
        (tmp_path / name).write_text(f"[ru.held]\nsubject = '{name}: сервер {{server}}'\n", encoding="utf-8")
    monkeypatch.setenv("PROVISIONER_TEXTS_FILE", str(tmp_path / "set"))
    asked = ["ticket", "preview", "held", "--language", "ru"]

    codes = [main.run(main.make(), asked), main.run(main.make(), [*asked, "--texts", str(tmp_path / "tried")])]

    said = capsys.readouterr().out
    assert codes == [Code.OK, Code.OK]
    assert [line for line in said.splitlines() if line.startswith("held: ")] == [
        "held: set: сервер srv-17",
        "held: tried: сервер srv-17",
    ]


def test_a_preview_of_all_is_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    code = main.run(main.make(), ["ticket", "preview", "--all", "--language", "ru", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == Code.OK
    assert [one["kind"] for one in found] == list(Kind)
    assert set(found[0]) == {"kind", "language", "subject", "open", "follow_up", "reminder", "all_clear"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ([], Code.USAGE),
        (["held", "--all"], Code.USAGE),
        (["melted"], Code.USAGE),
        (["held", "--language", "xx"], Code.REFUSED),
    ],
)
def test_a_preview_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], line: list[str], code: Code
) -> None:
    assert main.run(main.make(), ["ticket", "preview", *line]) == code
    assert capsys.readouterr().out == ""
