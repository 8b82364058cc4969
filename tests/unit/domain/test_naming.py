"""Logins, host names, and what a database can hold; no spelling of the marker `free.ds` is a host name."""

import string
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.domain.naming import (
    HOSTNAME_LENGTH,
    LOGIN_LENGTH,
    SYSTEM_LOGINS,
    hostname,
    panel_login,
    plain_id,
    same_name,
    storable,
    task_id,
)
from provisioner.domain.server import FREE_MARKER
from provisioner.errors import Invalid

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)  #: NUL and lone surrogates too
LOGINS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=LOGIN_LENGTH)

ODD_NAMES = st.from_regex("[a-zA-Z0-9\u00fc\u3002\uff0e-]{1,9}(\\.[a-zA-Z0-9\u00df-]{1,9}){1,3}\\.?", fullmatch=True)
patient = settings(deadline=None)  #: a busy machine is no fault of ours

# --- logins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "login"),
    [
        ("ivanov", "ivanov"),
        ("Ivan.Petrov@example.net", "ivanpetrovexampl"),
        ("anna-maria_99", "annamaria99"),
        ("  José  ", "jose"),
        ("a" * 40, "a" * 16),
        ("Ünal", "unal"),
    ],
)
def test_a_login_loses_its_special_characters_and_its_length(wish: str, login: str) -> None:
    assert panel_login(wish) == login


@patient
@given(ANY_TEXT, st.frozensets(LOGINS, max_size=20))
def test_a_login_is_one_that_the_panel_takes_or_the_order_is_refused(wish: str, taken: frozenset[str]) -> None:
    try:
        login = panel_login(wish, taken=taken)
    except Invalid:
        return

    assert 1 <= len(login) <= LOGIN_LENGTH
    assert set(login) <= set(string.ascii_lowercase + string.digits)
    assert login not in taken
    assert login not in SYSTEM_LOGINS


@patient
@given(LOGINS)
def test_the_same_wish_gives_the_same_login(wish: str) -> None:
    if wish not in SYSTEM_LOGINS:
        assert panel_login(wish) == panel_login(wish.upper()) == wish


@patient
@given(LOGINS.filter(lambda login: login not in SYSTEM_LOGINS), st.integers(min_value=1, max_value=15))
def test_clashes_take_one_login_after_the_other_and_never_two_the_same(wish: str, customers: int) -> None:
    taken: set[str] = set()
    for _ in range(customers):
        taken.add(panel_login(wish, taken=frozenset(taken)))

    assert len(taken) == customers
    assert all(len(login) <= LOGIN_LENGTH for login in taken)


def test_a_clash_of_a_long_login_still_fits() -> None:
    assert panel_login("a" * 16, taken=frozenset({"a" * 16})) == "a" * 15 + "2"


def test_a_number_that_is_taken_too_is_passed() -> None:
    assert panel_login("ivanov", taken=frozenset({"ivanov", "ivanov2", "ivanov3"})) == "ivanov4"


def test_a_login_that_a_thousand_have_is_refused() -> None:
    taken = frozenset({"ivanov", *(f"ivanov{n}" for n in range(2, 1000))})

    with pytest.raises(Invalid, match="thousand"):
        panel_login("ivanov", taken=taken)


@pytest.mark.parametrize("wish", ["", "---", "иванов", "名前", "\x00", "\ud800"])
def test_a_login_of_which_nothing_is_left_is_refused(wish: str) -> None:
    with pytest.raises(Invalid, match="no letter or digit"):
        panel_login(wish)


@pytest.mark.parametrize("wish", ["root", "ROOT", "r.o-o_t", "Admin", "bill"])
def test_a_systems_name_is_nobodys_login_in_any_spelling(wish: str) -> None:
    with pytest.raises(Invalid, match="name of the system"):
        panel_login(wish, system=frozenset({"bill"}))


# --- host names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("srv1.example.net", "srv1.example.net"),
        ("SRV1.Example.NET.", "srv1.example.net"),
        (" srv1.example.net ", "srv1.example.net"),
        ("\u043f\u0440\u0438\u043c\u0435\u0440.example.net", "xn--e1afmkfd.example.net"),
        ("\u041f\u0420\u0418\u041c\u0415\u0420.example.net", "xn--e1afmkfd.example.net"),
        ("bücher.example.net", "xn--bcher-kva.example.net"),
        ("xn--bcher-kva.example.net", "xn--bcher-kva.example.net"),
        ("srv1。example。net", "srv1.example.net"),
        ("3com.example.net", "3com.example.net"),
    ],
)
def test_a_host_name_has_one_stored_form(text: str, stored: str) -> None:
    assert hostname(text) == stored


@pytest.mark.parametrize(
    "text",
    [
        "free.ds",
        "FREE.DS",
        "Free.Ds.",
        "  free.ds  ",
        "free.ds..",
        "free。ds",
        "free\uff0eds",
        "free\uff61ds",
        "\uff46\uff52\uff45\uff45.\uff44\uff53",
        "free.ds\u3002",
        "free.ds\uff0e",
        "free\u00ad.ds",
        "fre\u200be.ds",
        "\u24d5\u24e1\u24d4\u24d4.ds",
        "\U0001d41f\U0001d42b\U0001d41e\U0001d41e.\U0001d41d\U0001d42c",
    ],
)
def test_the_marker_of_free_servers_is_no_host_name_in_any_spelling(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        hostname(text)

    assert refused.value.field == "hostname"


def test_a_name_below_the_marker_is_a_name_like_any_other() -> None:
    assert hostname("srv1.free.ds") == "srv1.free.ds"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "localhost",
        "srv 1.example.net",
        "-srv.example.net",
        "srv-.example.net",
        "srv_1.example.net",
        "srv1..example.net",
        ".example.net",
        "192.0.2.7",
        "srv1.example.7",
        "a" * 64 + ".example.net",
        ".".join(["a" * 60] * 5),
        "ü" * 64 + ".example.net",
        "srv1.example.net\nevil",
        "srv1.example.net;reboot",
        "http://srv1.example.net/",
    ],
)
def test_what_is_no_full_host_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        hostname(text)

    assert refused.value.field == "hostname"


@pytest.mark.parametrize("text", ["srv\x00.example.net", "srv\ud800.example.net", "\udfff"])
def test_a_host_name_that_a_database_cant_hold_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        hostname(text)


@patient
@given(ANY_TEXT | ODD_NAMES)
def test_a_host_name_is_plain_or_refused_and_stays_as_it_is(text: str) -> None:
    try:
        name = hostname(text)
    except Invalid:
        return

    assert hostname(name) == name
    assert name.isascii()
    assert name == name.lower()
    assert len(name) <= HOSTNAME_LENGTH
    assert all(1 <= len(label) <= 63 for label in name.split("."))
    assert not same_name(name, FREE_MARKER)


@patient
@given(
    st.sampled_from(["free", "FREE", "fReE"]), st.sampled_from(["ds", "DS"]), st.text(".\u3002\uff0e\uff61", max_size=3)
)
def test_dots_behind_the_marker_do_not_hide_it(name: str, domain: str, dots: str) -> None:
    with pytest.raises(Invalid):
        hostname(f"{name}.{domain}{dots}")


def lookalikes(letter: str) -> list[str]:
    """Give every character that IDNA, which stands on Unicode 3.2, takes for *letter*."""
    alike = (chr(point) for point in range(0x80, sys.maxunicode + 1))
    return [other for other in alike if unicodedata.ucd_3_2_0.normalize("NFKC", other).casefold() == letter]


@pytest.mark.parametrize("letter", "freds")
def test_no_compatible_letter_spells_the_marker(letter: str) -> None:
    for other in lookalikes(letter):
        with pytest.raises(Invalid):
            hostname("free.ds".replace(letter, other, 1))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("free.ds", "FREE.DS.", True),
        ("srv1.example.net", "SRV1.example.NET", True),
        ("", "", True),
        ("free.ds", "srv1.free.ds", False),
        ("free.ds", "", False),
        ("free.ds", " free.ds", False),
    ],
)
def test_two_names_are_the_same_without_case_and_final_dot(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a case
    assert same_name(one, other) is same


# --- what a database can hold, and what is safe in an id ----------------------------------------------------------


@patient
@given(ANY_TEXT)
def test_a_storable_text_is_given_as_it_is_and_can_be_encoded(text: str) -> None:
    try:
        kept = storable(text, field="note", longest=100)
    except Invalid:
        assert "\x00" in text or len(text) > 100 or any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
        return

    assert kept == text
    assert "\x00" not in kept
    assert kept.encode().decode() == kept
    assert len(kept) <= 100


def test_the_longest_storable_text_is_kept_and_the_next_is_refused() -> None:
    assert storable("a" * 5, field="note", longest=5) == "a" * 5
    with pytest.raises(Invalid, match="6 characters; at most 5"):
        storable("a" * 6, field="note", longest=5)


@patient
@given(ANY_TEXT)
def test_a_task_id_holds_nothing_but_what_is_safe(text: str) -> None:
    plain = plain_id(text)

    assert 1 <= len(plain) <= 40
    assert set(plain) <= set(string.ascii_letters + string.digits + "_-")


def test_a_plain_name_stays_readable_in_a_task_id() -> None:
    assert plain_id("order 4711/A") == "order-4711-A"


@pytest.mark.parametrize(("sends", "tail"), [(1, ""), (2, ".2"), (17, ".17")])
def test_a_task_id_names_the_order_the_server_and_the_step(sends: int, tail: str) -> None:
    found = task_id(1043, "ord 77", "101", 1, label="06_install_os", sends=sends)

    assert found == f"1043.ord-77.101.a1.06_install_os{tail}"


@patient
@given(ANY_TEXT, ANY_TEXT)
def test_a_task_id_keeps_its_parts_apart_whatever_they_are(order: str, server: str) -> None:
    parts = task_id(1, order, server, 2, label="00_account", sends=1).split(".")

    assert len(parts) == 5
    assert (parts[0], parts[3], parts[4]) == ("1", "a2", "00_account")
