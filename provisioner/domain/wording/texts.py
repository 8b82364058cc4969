"""The words that we ship, and those that an operator puts in their place; pure."""

from collections.abc import Mapping, Sequence
from string import Formatter

from provisioner.domain.matters import (
    FIELDS,
    MARKS,
    MORE_FIELDS,
    PARTS,
    SUBJECT_MOST,
    TEXT_MOST,
    Kind,
    Texts,
    Wording,
    Words,
)
from provisioner.domain.wording.en import EN
from provisioner.domain.wording.ru import RU
from provisioner.errors import BadConfig, Invalid

SHIPPED: Texts = {"en": EN, "ru": RU}
LINES_MOST = 40  #: lines of what to do
KEYS = ("subject", "todo", "over")


def language_of(given: str) -> str:
    """Give a language that we have words in. Raises `Invalid`."""
    if given not in SHIPPED:
        raise Invalid(f"there are no texts in {given!r}; there are {', '.join(sorted(SHIPPED))}", field="language")
    return given


def replaced(given: Mapping[str, object]) -> Texts:
    """
    Give our texts with those of an operator in their place: language → kind → `subject`, `todo`, `over`.

    What is not given stays ours. A text may name fields as `{name}` and nothing else of a format.

    Raises:
        BadConfig: the sentence names the key, and what is allowed there.
    """
    texts = dict(SHIPPED)
    for language, kinds in given.items():
        wording = texts[_known(language, SHIPPED, where=language, what="language")]
        words = dict(wording.words)
        for name, one in _table(kinds, language).items():
            kind = Kind(_known(name, list(Kind), where=f"{language}.{name}", what="kind"))
            words[kind] = _words(_table(one, f"{language}.{name}"), words[kind], kind, f"{language}.{name}")
        texts[language] = Wording(wording.labels, words)
    return texts


def _words(given: Mapping[str, object], ours: Words, kind: Kind, where: str) -> Words:
    for key in given:
        _known(key, KEYS, where=f"{where}.{key}", what="key")
    subject, todo, over = (given.get(key, getattr(ours, key)) for key in KEYS)
    fields = (*FIELDS, *MORE_FIELDS.get(kind, ()))
    return Words(
        subject=_template(
            subject, [name for name in fields if name not in MARKS], f"{where}.subject", most=SUBJECT_MOST
        ),
        todo=_lines(todo, fields, f"{where}.todo"),
        over=_template(over, PARTS[kind], f"{where}.over", most=TEXT_MOST),
    )


def _lines(given: object, fields: Sequence[str], where: str) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not 0 < len(given) <= LINES_MOST:
        raise BadConfig(f"{where} must be a list of 1 to {LINES_MOST} lines")
    return tuple(_template(line, fields, f"{where}, line {n}", most=TEXT_MOST) for n, line in enumerate(given, 1))


def _template(given: object, fields: Sequence[str], where: str, *, most: int) -> str:
    if not isinstance(given, str) or not given.strip() or len(given) > most:
        raise BadConfig(f"{where} must be a text of 1 to {most} characters")
    allowed = ", ".join(f"{{{name}}}" for name in fields)
    try:
        named = [(name, form, change) for _, name, form, change in Formatter().parse(given) if name is not None]
    except ValueError:
        raise BadConfig(f"{where}: a brace stands alone; write {{{{ or }}}}, or one of {allowed}") from None
    for name, form, change in named:
        if name not in fields or form or change:
            shown = name + (f"!{change}" if change else "") + (f":{form}" if form else "")
            raise BadConfig(f"{where}: there is no field {{{shown}}}; there are {allowed}")
    return given


def _table(given: object, where: str) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        raise BadConfig(f"{where} must be a table, as in [ru.held]")
    return given


def _known(given: str, known: Sequence[str] | Mapping[str, object], *, where: str, what: str) -> str:
    if given not in known:
        raise BadConfig(f"{where}: there is no {what} {given!r}; there are {', '.join(known)}")
    return given
