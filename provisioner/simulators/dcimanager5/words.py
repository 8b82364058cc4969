"""Errors of DCImanager 5: how the data centre's troubles are said on this wire. Pure.

Source: dcimanager5.md 2.2. Types and objects are stable, texts follow the language.
"""

from provisioner.simulators.dcimanager5.tree import Element, leaf
from provisioner.simulators.model import Kind, Trouble
from provisioner.simulators.settings import Settings

_ENGLISH = {
    "auth": "Invalid username or password",
    "access": "You do not have sufficient privileges to access '__object__'",
    "exists": "The object '__object__' already exists. __value__",
    "value": "The '__object__' field has invalid value. __value__",
    "missed": "The object '__object__' is not found. __value__",
    "xml": "Internal error. __object__",
}
_RUSSIAN = {
    "auth": "Неверное имя пользователя или пароль",
    "access": "Недостаточно прав для доступа к '__object__'",
    "exists": "Объект '__object__' уже существует. __value__",
    "value": "Поле '__object__' имеет недопустимое значение. __value__",
    "missed": "Объект '__object__' не найден. __value__",
    "xml": "Внутренняя ошибка. __object__",
}
_OTHER = {"en": "The operation cannot be performed: __object__. __value__", "ru": "Операция невозможна: __object__"}


class PanelError(Exception):
    """The panel answers with an error document."""

    def __init__(self, kind: str, subject: str = "", value: str = "", *, report: bool = False, msg: str = "") -> None:
        super().__init__(f"{kind}/{subject}")
        self.kind = kind
        self.subject = subject
        self.value = value
        self.report = report
        self.msg = msg


def from_trouble(trouble: Trouble, settings: Settings) -> PanelError:
    """Return how the panel says *trouble*; busy and exhausted are settings, for nobody knows (**I**)."""
    match trouble.kind:
        case Kind.MISSING:
            return PanelError("missed", trouble.subject, trouble.value)
        case Kind.TAKEN:
            return PanelError("exists", trouble.subject, trouble.value)
        case Kind.BAD_VALUE:
            return PanelError("value", trouble.subject, trouble.value)
        case Kind.DENIED:
            return PanelError("access", trouble.subject, trouble.value)
        case Kind.BUSY:
            return PanelError(settings.busy_type, settings.busy_object, trouble.value)
        case Kind.EXHAUSTED:
            return PanelError(settings.exhausted_type, settings.exhausted_object, trouble.value)


def error_element(error: PanelError, *, lang: str, level: int, user: str, func: str) -> Element:
    """Return the `<error>` element with all its parts."""
    attributes = {"type": error.kind}
    if error.subject:
        attributes["object"] = error.subject
    attributes |= {"lang": lang, "code": "1"}
    if error.report:
        attributes["report"] = "yes"
    templates = _RUSSIAN if lang == "ru" else _ENGLISH
    template = templates.get(error.kind, _OTHER.get(lang, _OTHER["en"]))
    message = error.msg or template.replace("__object__", error.subject).replace("__value__", error.value).strip()
    action = leaf("action", func, level=str(level), user=user)
    element = Element("error", "", attributes).add(
        leaf("param", error.subject, name="object", type="msg"),
        leaf("param", error.value, name="value"),
        Element("stack", children=[action]),
    )
    if error.kind == "auth":
        element.add(leaf("detail", message))
    else:
        element.add(leaf("group", template))
    return element.add(leaf("msg", message))
