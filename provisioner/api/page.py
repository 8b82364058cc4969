"""The page at which a person answers, as text: one form, for a phone, in English and Russian; touches nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from provisioner.domain.question import QuestionKind
from provisioner.ports import Asking
from provisioner.views.outlook import clock

BY_LINK = "whoever has the ticket's link"


@dataclass(frozen=True, slots=True)
class _Words:
    """The page in one language."""

    title: Mapping[QuestionKind, str]
    todo: Mapping[QuestionKind, str]
    server: str
    hint: str
    send: Mapping[QuestionKind, str]
    thanks: str
    answered: str
    over: str
    by_link: str
    facts: tuple[str, ...]  #: order, customer, host name, equipment, place, user, server, until
    last: str


def form(asking: Asking, *, server: str = "", trouble: str = "") -> str:
    """Give the form; *trouble*: why what was typed, *server*, did not do."""
    words = _words(asking)
    values = (
        f"{asking.external_ref} ({asking.panel})", asking.customer_ref, asking.hostname, asking.equipment,
        asking.connection, f"{asking.login} ({asking.customer})" if asking.customer else "", asking.server or "",
        clock(asking.due_at),
    )  # fmt: skip
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in zip(words.facts, values, strict=True)
        if value
    )
    said = trouble or (f"{words.last}: {asking.says}" if asking.says else "")
    told = f'<p class="bad" role="alert">{escape(said)}</p>' if said else ""
    if asking.kind is QuestionKind.PLACED:
        field = (
            f'<label for="server">{escape(words.server)}</label><input id="server" name="server" required '
            f'maxlength="200" autocomplete="off" autocapitalize="off" value="{escape(server)}">'
            f'<p class="dim">{escape(words.hint)}</p>'
        )
    else:
        field = '<input type="hidden" name="done" value="1">'
    body = (
        f"<h1>{escape(words.title[asking.kind])}</h1><p>{escape(words.todo[asking.kind])}</p><dl>{rows}</dl>{told}"
        f'<form method="post">{field}<button>{escape(words.send[asking.kind])}</button></form>'
    )
    return _page(asking.language, words.title[asking.kind], body)


def thanks(asking: Asking) -> str:
    """Give what is said to whoever answered."""
    return sentence(_words(asking).thanks, asking.language)


def gone(asking: Asking) -> str:
    """Give what is said to whoever comes too late."""
    words = _words(asking)
    by = words.by_link if asking.answered_by == BY_LINK else asking.answered_by
    return sentence(words.answered.format(by=by) if asking.answered_at else words.over, asking.language)


def sentence(text: str, language: str = "en") -> str:
    """Give a page of one sentence."""
    return _page(language, text, f"<p>{escape(text)}</p>")


def _words(asking: Asking) -> _Words:
    return WORDS.get(asking.language, WORDS["en"])


def _page(language: str, title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )


STYLE = """
:root { color-scheme: light dark }
body { font: 1.05rem/1.5 system-ui, sans-serif; margin: 0; padding: 1.2rem }
main { max-width: 34rem; margin: 0 auto }
h1 { font-size: 1.4rem; line-height: 1.25 }
dl { display: grid; grid-template-columns: auto 1fr; gap: .3rem 1rem; margin: 1.2rem 0 }
dt { opacity: .7 } dd { margin: 0; overflow-wrap: anywhere }
label { display: block; font-weight: 600; margin-bottom: .3rem }
input, button { font: inherit; box-sizing: border-box; width: 100%; padding: .7rem; border-radius: .4rem }
input { border: 1px solid #888 } button { border: 0; background: #0b57d0; color: #fff; margin-top: .6rem }
.dim { opacity: .7; font-size: .9rem; margin: .3rem 0 } .bad { border-left: .3rem solid #c5221f; padding-left: .8rem }
"""

WORDS: Mapping[str, _Words] = {
    "en": _Words(
        title={QuestionKind.PLACED: "Put a customer's machine into its rack",
               QuestionKind.REMOVED: "Take a customer's machine out"},
        todo={
            QuestionKind.PLACED: "Mount and cable it, make it a server in the data-centre manager and give it there to "
            "the customer's user. Then say which server it is.",
            QuestionKind.REMOVED: "Unmount it, then delete its server in the data-centre manager, or clear the owner "
            "there. Then say that it is done.",
        },
        server="Server id in the data-centre manager",
        hint="It is checked at once: the server must be there, and be the customer's.",
        send={QuestionKind.PLACED: "This is the server", QuestionKind.REMOVED: "It is done"},
        thanks="Thank you. It is read once more in the data-centre manager, and goes on by itself.",
        answered="This was answered before, by {by}.",
        over="Nobody waits for this answer any more: it was settled, or the order was withdrawn.",
        by_link="somebody with this link",
        facts=("Order", "Customer", "Host name", "Equipment", "Place", "User there", "Server", "Until"),
        last="The last answer did not do",
    ),
    "ru": _Words(
        title={QuestionKind.PLACED: "Установить оборудование клиента в стойку",
               QuestionKind.REMOVED: "Снять оборудование клиента"},
        todo={
            QuestionKind.PLACED: "Смонтируйте и подключите оборудование, заведите сервер в панели управления "
            "дата-центром и назначьте владельцем пользователя клиента. Затем укажите, какой это сервер.",
            QuestionKind.REMOVED: "Снимите оборудование, затем удалите сервер в панели управления дата-центром или "
            "уберите владельца. После этого подтвердите.",
        },
        server="Номер сервера в панели управления дата-центром",
        hint="Проверяется сразу: сервер должен существовать и принадлежать клиенту.",
        send={QuestionKind.PLACED: "Это тот сервер", QuestionKind.REMOVED: "Готово"},
        thanks="Спасибо. Сервер будет прочитан ещё раз, дальше всё пойдёт само.",
        answered="Ответ уже получен: {by}.",
        over="Ответ больше не нужен: вопрос решён или заказ отозван.",
        by_link="по этой ссылке",
        facts=("Заказ", "Клиент", "Имя хоста", "Оборудование", "Площадка", "Пользователь", "Сервер", "Срок"),
        last="Предыдущий ответ не подошёл",
    ),
}  # fmt: skip
