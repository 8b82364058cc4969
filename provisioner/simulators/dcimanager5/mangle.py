"""Answers of a DCImanager 5 panel gone wrong: cut lists, and bodies that are no document at all."""

from provisioner.simulators.dcimanager5.tree import Element
from provisioner.simulators.faults import Fault
from provisioner.simulators.http import Reply

_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_LOGIN = (
    "<!DOCTYPE html><html><body><form action='/dcimgr' method='post'>"
    "<input name='username'/><input name='password' type='password'/><input type='hidden' name='func' value='auth'/>"
    "</form></body></html>"
)


def garbage(variant: str, body: bytes) -> Reply:
    """
    Return the *variant* of nonsense that stands in for the good *body*.

    `expired_session` is a document of its own and made by the panel, not here.
    """
    match variant:
        case "html":
            return Reply(_HTML.format("The panel is being updated").encode())
        case "truncated_xml":
            return Reply(body[: max(len(body) // 2, 1)], content_type="text/xml; charset=utf-8")
        case "short_body":
            return Reply(body, content_type="text/xml; charset=utf-8", short=max(len(body) // 2, 1))
        case "empty":
            return Reply(b"", content_type="text/xml; charset=utf-8")
        case "http500":
            return Reply(_HTML.format("500 Internal Server Error").encode(), status=500)
        case "login_page":
            return Reply(_LOGIN.encode())
        case _:
            return Reply(_HTML.format("502 Bad Gateway").encode(), status=502)


def cut(doc: Element, fault: Fault) -> None:
    """
    Spoil the list in *doc*; `p_elems` goes on saying how many rows there are.

    rows: the last `rows` rows are missing (default: half); field: `field` is missing from every
    row; row: one row (number `row`, default the first) keeps nothing but its name.
    """
    rows = doc.all("elem")
    variant = fault.text("variant", "rows")
    if variant == "rows":
        keep = len(rows) - int(fault.number("rows", (len(rows) + 1) // 2))
        gone = {id(item) for item in rows[max(keep, 0) :]}
        doc.children = [child for child in doc.children if id(child) not in gone]
    elif variant == "field":
        for item in rows:
            item.children = [cell for cell in item.children if cell.tag != fault.text("field", "id")]
    elif rows:
        ill = rows[int(fault.number("row", 0)) % len(rows)]
        ill.children = [cell for cell in ill.children if cell.tag == "name"]
