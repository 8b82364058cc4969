"""Both languages are whole, and what an operator puts in their place is data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from string import Formatter
from typing import Any

import pytest

from provisioner.domain.matters import FIELDS, PARTS, Kind, Words
from provisioner.domain.wording.texts import LINES_MOST, SHIPPED, language_of, replaced
from provisioner.errors import BadConfig, Invalid

CYRILLIC = re.compile(r"[\u0400-\u04ff]")
every_kind = pytest.mark.parametrize("kind", list(Kind))
every_language = pytest.mark.parametrize("language", list(SHIPPED))


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def named(words: Words) -> tuple[set[str], set[str], set[str]]:
    return fields(words.subject), fields(" ".join(words.todo)), fields(words.over)


def commands(words: Words) -> set[str]:
    return set(re.findall(r"provisioner [^`\n]*", "\n".join(words.todo)))


@every_language
def test_a_language_has_words_for_every_kind_and_nothing_is_empty(language: str) -> None:
    wording = SHIPPED[language]

    assert list(wording.words) == list(Kind)
    assert all(asdict(wording.labels).values())
    assert all(words.subject and words.todo and all(words.todo) and words.over for words in wording.words.values())


@every_kind
def test_all_languages_name_the_same_fields_and_commands(kind: Kind) -> None:
    english = SHIPPED["en"].words[kind]

    for wording in SHIPPED.values():
        assert named(wording.words[kind]) == named(english)
        assert commands(wording.words[kind]) == commands(english)


def test_all_languages_have_labels_with_the_same_fields() -> None:
    english = asdict(SHIPPED["en"].labels)

    for wording in SHIPPED.values():
        assert {name: fields(text) for name, text in asdict(wording.labels).items()} == {
            name: fields(text) for name, text in english.items()
        }


@every_kind
def test_russian_is_russian(kind: Kind) -> None:
    words = SHIPPED["ru"].words[kind]
    prose = [words.subject, words.over, *(line for line in words.todo if not line.startswith("provisioner "))]

    assert all(CYRILLIC.search(line) for line in prose)
    assert all(CYRILLIC.search(text) for name, text in asdict(SHIPPED["ru"].labels).items() if name != "ordered")


@every_language
@every_kind
def test_our_own_texts_could_be_an_operator_s(kind: Kind, language: str) -> None:
    ours = SHIPPED[language].words[kind]

    given = {"subject": ours.subject, "todo": list(ours.todo), "over": ours.over}

    assert replaced({language: {kind.value: given}}) == SHIPPED


def test_what_is_given_replaces_ours_and_nothing_else() -> None:
    texts = replaced({"ru": {"held": {"subject": "{connection}: стоим {{на}} {step}"}}})

    held = replace(SHIPPED["ru"].words[Kind.HELD], subject="{connection}: стоим {{на}} {step}")
    assert texts["ru"].words == {**SHIPPED["ru"].words, Kind.HELD: held}
    assert texts["ru"].labels == SHIPPED["ru"].labels
    assert texts["en"] == SHIPPED["en"]


def test_nothing_given_is_ours() -> None:
    assert replaced({}) == SHIPPED


def braced(names: Sequence[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"de": {}}, "de: there is no language 'de'; there are en, ru"),
        ({"ru": 7}, "ru must be a table, as in [ru.held]"),
        ({"ru": {"helt": {}}}, f"ru.helt: there is no kind 'helt'; there are {', '.join(Kind)}"),
        ({"ru": {"held": "x"}}, "ru.held must be a table, as in [ru.held]"),
        ({"ru": {"held": {"titel": "x"}}}, "ru.held.titel: there is no key 'titel'; there are subject, todo, over"),
        ({"ru": {"held": {"subject": 7}}}, "ru.held.subject must be a text of 1 to 150 characters"),
        ({"ru": {"held": {"subject": " "}}}, "ru.held.subject must be a text of 1 to 150 characters"),
        ({"ru": {"held": {"subject": "x" * 151}}}, "ru.held.subject must be a text of 1 to 150 characters"),
        ({"ru": {"held": {"todo": "x"}}}, f"ru.held.todo must be a list of 1 to {LINES_MOST} lines"),
        ({"ru": {"held": {"todo": []}}}, f"ru.held.todo must be a list of 1 to {LINES_MOST} lines"),
        ({"ru": {"held": {"todo": ["x"] * 41}}}, f"ru.held.todo must be a list of 1 to {LINES_MOST} lines"),
        ({"ru": {"held": {"todo": ["x", 7]}}}, "ru.held.todo, line 2 must be a text of 1 to 1500 characters"),
        ({"en": {"held": {"over": True}}}, "en.held.over must be a text of 1 to 1500 characters"),
        (
            {"en": {"held": {"todo": ["ok", "{pasword}"]}}},
            f"en.held.todo, line 2: there is no field {{pasword}}; there are {braced(FIELDS)}",
        ),
        (
            {"en": {"held": {"todo": ["{link}"]}}},
            f"en.held.todo, line 1: there is no field {{link}}; there are {braced(FIELDS)}",
        ),
        (
            {"en": {"overdue": {"subject": "{due}"}}},
            f"en.overdue.subject: there is no field {{due}}; there are {braced([*FIELDS, 'asked'])}",
        ),
        (
            {"en": {"place": {"subject": "{link}"}}},
            "en.place.subject: there is no field {link}; there are "
            + braced([*FIELDS, "hostname", "customer", "user", "equipment", "due"]),
        ),
        (
            {"en": {"held": {"over": "{job}"}}},
            f"en.held.over: there is no field {{job}}; there are {braced(PARTS[Kind.HELD])}",
        ),
    ],
)
def test_what_can_t_be_used_is_refused_with_its_key_and_what_is_allowed(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig) as refused:
        replaced(given)

    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "field", ["job.__class__", "job[0]", "", "0", "job!r", "job:>9999999", "job:{step}", " job", "job "]
)
@pytest.mark.parametrize("key", ["subject", "todo", "over"])
def test_a_format_s_tricks_are_no_fields(key: str, field: str) -> None:
    text = f"x {{{field}}}"

    with pytest.raises(BadConfig, match=f"en.guard.{key}(, line 1)?: there is no field"):
        replaced({"en": {"guard": {key: [text] if key == "todo" else text}}})


@pytest.mark.parametrize("text", ["{", "}", "{job", "job}", "{job!}", "{a{b}"])
def test_a_brace_that_stands_alone_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match=r"en\.held\.subject: (a brace stands alone|there is no field)"):
        replaced({"en": {"held": {"subject": text}}})


def test_a_language_without_texts_is_refused_by_name() -> None:
    assert [language_of(name) for name in ("en", "ru")] == ["en", "ru"]
    with pytest.raises(Invalid, match="no texts in 'xx'; there are en, ru"):
        language_of("xx")
