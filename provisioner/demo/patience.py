"""How the demo and its children are waited for: look, tend the children, look again. Touches the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: How often what is awaited is looked at.
LOOK_SECONDS = 0.1


def until(
    look: Callable[[], T], *, seconds: float, tend: Callable[[], None] = lambda: None, every: float = LOOK_SECONDS
) -> T:
    """Look *every* so many seconds until what is seen is true, *seconds* at most; return what was seen last."""
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        tend()
        time.sleep(every)  # noqa: TID251 - the supervisor is no worker
    return found
