"""Dice of the simulated data centre: draws that depend on names, never on the order of calls."""

import hashlib

_SPAN = 2**64


def draw(seed: int, *names: object) -> float:
    """
    Return a number in [0, 1) that is always the same for the same *seed* and *names*.

    A shared generator would hand out its numbers in the order of calls; with several workers that
    order is luck. A hash of who draws for what gives each object a row of numbers of its own.
    """
    text = "|".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / _SPAN


def digest(secret: str) -> str:
    """Return the SHA-256 of *secret* in hex: the only form in which the world keeps a password."""
    return hashlib.sha256(secret.encode()).hexdigest()
