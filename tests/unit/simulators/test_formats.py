"""One document, several formats, two paths, two methods (dcimanager5.md 1.1, 2)."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest
import requests

from provisioner.simulators import Control, Simulator
from provisioner.simulators.dcimanager5.tree import Element, leaf, row, to_json, to_json_data, to_xml
from tests.unit.simulators.wire import Wire

_ROWS = {"elem", "slist", "val", "param", "action"}


def image(element: ET.Element) -> dict[str, Any]:
    """Return what the reference says the JSON of *element* is; written apart from the simulator."""
    result: dict[str, Any] = {f"${name}": value for name, value in element.attrib.items()}
    if element.text:
        result["$"] = element.text
    for child in element:
        known = result.get(child.tag)
        if known is None:
            result[child.tag] = [image(child)] if child.tag in _ROWS else image(child)
        else:
            result[child.tag] = [*(known if isinstance(known, list) else [known]), image(child)]
    return result


@pytest.mark.parametrize(
    ("func", "params"),
    [
        ("server", {}),
        ("server.edit", {"elid": "101"}),
        ("server.operations", {"elid": "101"}),
        ("iplist", {"elid": "101"}),
        ("user", {}),
        ("server.edit", {"elid": "999"}),
        ("server.dance", {}),
    ],
)
def test_json_is_the_mechanical_image_of_xml(wire: Wire, func: str, params: dict[str, str]) -> None:
    document = image(wire.xml(func, **params))
    document.get("tparams", {}).get("out", {})["$"] = "json"

    assert wire.doc(func, **params) == document


def test_an_empty_element_is_an_empty_object(wire: Wire) -> None:
    assert wire.ok("server")["elem"][0]["poweroff"] == {}


def test_a_list_of_one_row_is_an_array_unless_set_otherwise(wire: Wire, control: Control) -> None:
    assert isinstance(wire.ok("iplist", elid="101")["elem"], list)

    control.set(json_single_object=True)

    assert isinstance(wire.ok("iplist", elid="101")["elem"], dict)


def test_json_data_is_a_bare_array_of_flat_maps(wire: Wire) -> None:
    rows = wire.raw("server", out="JSONdata").json()

    assert rows[0]["id"] == "101"
    assert rows[0]["poweroff"] == ""


def test_the_default_is_a_page_for_people(wire: Wire) -> None:
    answer = wire.raw("server", out="")

    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_text_has_a_line_for_each_row(wire: Wire) -> None:
    assert len(wire.raw("server", out="text").text.splitlines()) == 4


def test_get_and_post_and_both_paths_are_equal(wire: Wire, sim: Simulator) -> None:
    other = sim.url.replace("/dcimgr", "/manager/dcimgr")
    values = {"func": "user", "out": "xml", "authinfo": sim.authinfo}

    answers = {
        wire.raw("user", "GET", out="xml", lang="").status_code,
        requests.get(other, params=values, timeout=5).status_code,
        requests.post(other, data=values, timeout=5).status_code,
    }

    assert answers == {200}
    assert requests.get(sim.url.replace("/dcimgr", "/world"), timeout=5).status_code == 404


def test_query_and_body_are_merged(sim: Simulator) -> None:
    query = {"out": "json", "authinfo": sim.authinfo}

    answer = requests.post(sim.url, params=query, data={"func": "user"}, timeout=5).json()

    assert answer["doc"]["$func"] == "user"


def test_unknown_parameters_are_ignored_and_secrets_not_echoed(wire: Wire) -> None:
    echo = wire.ok("server", progressid="false", sfrom="ajax", hfields="x")["tparams"]

    assert echo["sfrom"] == {"$": "ajax"}
    assert "authinfo" not in echo


def test_errors_have_all_their_parts(wire: Wire) -> None:
    error = wire.xml("server.edit", elid="999").find("error")

    assert error is not None
    assert error.attrib == {"type": "missed", "object": "elid", "lang": "en", "code": "1"}
    assert [child.tag for child in error] == ["param", "param", "stack", "group", "msg"]
    assert [item.text for item in error.findall("param")] == ["elid", "999"]


def test_texts_follow_the_language_and_types_do_not(wire: Wire) -> None:
    english, russian = wire.doc("server.dance")["error"], wire.doc("server.dance", lang="ru")["error"]

    assert english["$type"] == russian["$type"] == "missed"
    assert english["msg"] != russian["msg"]


def test_errors_of_operations_may_stand_on_top(wire: Wire, control: Control) -> None:
    control.set(operations_top_level_error=True)

    assert "error" in wire.raw("server.operations", elid="999").json()


def test_characters_that_xml_cannot_hold_are_dropped() -> None:
    doc = Element("doc", children=[leaf("notes", "a\x00b\x1bc")])

    assert b"<notes>abc</notes>" in to_xml(doc)
    assert to_json(doc) == b'{"doc": {"notes": {"$": "abc"}}}'


def test_leaves_of_the_same_text_keep_their_own_attributes_however_often_they_are_written() -> None:
    doc = Element("slist", children=[leaf("val", "a<b", key="1&2"), leaf("val", "a<b", key="3"), leaf("val", "a<b")])
    seen = b'<slist><val key="1&amp;2">a&lt;b</val><val key="3">a&lt;b</val><val>a&lt;b</val></slist>\n'

    assert [to_xml(doc).endswith(seen) for _ in range(2)] == [True, True]


def test_json_data_shows_an_error_too() -> None:
    doc = Element("doc", children=[leaf("error", type="auth", object="session")])

    assert to_json_data(doc) == b'{"error": {"type": "auth", "object": "session", "msg": ""}}'


def test_a_row_has_values_and_flags() -> None:
    assert to_xml(row({"id": 1}, ["poweron"])).endswith(b"<elem><id>1</id><poweron/></elem>\n")
