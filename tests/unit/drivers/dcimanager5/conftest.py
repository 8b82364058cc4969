"""Fixtures of the DCImanager 5 tests."""

from collections.abc import Iterator

import pytest

from tests.unit.drivers.dcimanager5 import panel as paper


@pytest.fixture
def panel() -> Iterator[paper.Panel]:
    with paper.panel() as made:
        yield made
