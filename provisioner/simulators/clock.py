"""Clock of the simulated data centre: seconds since it opened; can be frozen and moved by hand."""

import time
from collections.abc import Callable


class Clock:
    """World seconds. They pass like real ones until somebody freezes or advances the clock."""

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._anchor = source()
        self._base = 0.0
        self.frozen = False

    def now(self) -> float:
        """Return the seconds that have passed in the world."""
        if self.frozen:
            return self._base
        return self._base + self._source() - self._anchor

    def freeze(self) -> None:
        """Stop; only `advance` moves the world from now on."""
        self._base = self.now()
        self.frozen = True

    def resume(self) -> None:
        """Run again from where the clock stands."""
        self._base = self.now()
        self._anchor = self._source()
        self.frozen = False

    def advance(self, seconds: float) -> None:
        """Jump *seconds* ahead, frozen or not. A clock does not go back."""
        if seconds < 0:
            message = f"the clock cannot go back: advance by {seconds} s was refused"
            raise ValueError(message)
        self._base += seconds
