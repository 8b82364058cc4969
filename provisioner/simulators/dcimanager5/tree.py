"""The document of a DCImanager 5 answer, and its images in XML, JSON and JSONdata. Pure.

Source: dcimanager5.md 2.1, 2.3, 2.5. There is one tree; each format is a mechanical image of it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

_MARKUP = re.compile("[&<>]")
_SHARED = 100_000  # leaves: the list of 1,200 servers has 17,000, the form of one server names every user
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Elements that may repeat: arrays in JSON even when there is one.
_ROWS = frozenset({"elem", "slist", "val", "param", "action"})


@dataclass(slots=True)
class Element:
    """One element: attributes, text, children."""

    tag: str
    text: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    image: str = ""  #: of a leaf in XML, once it was written

    def add(self, *children: "Element") -> "Element":
        """Append *children* and return the element."""
        self.children.extend(children)
        return self

    def all(self, tag: str) -> list["Element"]:
        """Return the children called *tag*."""
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> "Element | None":
        """Return the first child called *tag*."""
        return next((child for child in self.children if child.tag == tag), None)


def leaf(tag: str, text: object = "", **attributes: str) -> Element:
    """Return an element without children; like ones are one, so that nobody may change it."""
    return _shared(tag, str(text), *attributes.items())


@lru_cache(maxsize=_SHARED)
def _shared(tag: str, text: str, *attributes: tuple[str, str]) -> Element:
    return Element(tag, text, dict(attributes))


def leaves(values: Mapping[str, object]) -> list[Element]:
    """Return an element for each value."""
    return [leaf(tag, text) for tag, text in values.items()]


def row(values: Mapping[str, object], flags: Iterable[str] = ()) -> Element:
    """Return a list row: *values* as text, each of *flags* as an empty element."""
    return Element("elem", children=[*leaves(values), *(leaf(flag) for flag in flags)])


def choices(name: str, options: Mapping[str, str]) -> Element:
    """Return the select list of a form."""
    values = [leaf("val", label, key=key) for key, label in options.items()]
    return Element("slist", "", {"name": name}, values)


def to_xml(doc: Element) -> bytes:
    """Return *doc* as an XML document."""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _write_xml(doc, parts)
    return _clean("".join(parts) + "\n").encode()


def to_json(doc: Element, *, single_object: bool = False, wrapped: bool = True) -> bytes:
    """
    Return *doc* as JSON.

    *single_object*: a list of one row is an object, as some panels are said to do.
    *wrapped*: False puts the parts of *doc* at the top, where some errors are found.
    """
    image = _json(doc, single_object=single_object)
    return _dump({doc.tag: image} if wrapped else image)


def to_json_data(doc: Element) -> bytes:
    """Return rows as a bare array of flat maps; anything else as one flat map (**I**)."""
    error = doc.first("error")
    if error is not None:
        message = error.first("msg")
        parts = {
            "type": error.attributes.get("type", ""),
            "object": error.attributes.get("object", ""),
            "msg": message.text if message else "",
        }
        return _dump({"error": parts})
    if doc.first("p_elems") is not None:
        rows = [{cell.tag: cell.text for cell in item.children} for item in doc.all("elem")]
        return _dump(rows)
    flat = {child.tag: child.text for child in doc.children if not child.children}
    return _dump(flat)


def to_text(doc: Element) -> bytes:
    """Return rows as lines of `name=value`, as `mgrctl` prints them."""
    lines = [" ".join(f"{cell.tag}={cell.text}" for cell in item.children) for item in doc.all("elem")]
    error = doc.first("error")
    if error is not None:
        lines = [f"ERROR {error.attributes.get('type', '')}({error.attributes.get('object', '')})"]
    elif not lines:
        lines = [f"{cell.tag}={cell.text}" for cell in doc.children if not cell.children]
    return ("\n".join(lines) + "\n").encode()


def _dump(image: object) -> bytes:
    return json.dumps(image, ensure_ascii=False).encode("utf-8", "replace")


def _clean(text: str) -> str:
    return _ILLEGAL.sub("", text)


def _write_xml(element: Element, parts: list[str]) -> None:
    """Append *element* to *parts*. One list and few calls: a panel of 1000 servers is asked for them all the time."""
    head = element.tag
    for name, value in element.attributes.items():
        head += f" {name}={quoteattr(value)}"
    text = element.text
    if _MARKUP.search(text):
        text = escape(text)
    if not element.children:
        element.image = f"<{head}>{text}</{element.tag}>" if text else f"<{head}/>"
        parts.append(element.image)
        return
    parts.append(f"<{head}>{text}")
    for child in element.children:
        if child.image:
            parts.append(child.image)
        else:
            _write_xml(child, parts)
    parts.append(f"</{element.tag}>")


def _json(element: Element, *, single_object: bool) -> dict[str, object]:
    image: dict[str, object] = {f"${name}": _clean(value) for name, value in element.attributes.items()}
    if element.text:
        image["$"] = _clean(element.text)
    grouped: dict[str, list[object]] = {}
    for child in element.children:
        grouped.setdefault(child.tag, []).append(_json(child, single_object=single_object))
    for tag, items in grouped.items():
        is_array = len(items) > 1 or (tag in _ROWS and not single_object)
        image[tag] = items if is_array else items[0]
    return image
