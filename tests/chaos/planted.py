"""The workers with one bug planted: `celery -A tests.chaos.planted`; which one is in `CHAOS_PLANT`. Never shipped."""

from __future__ import annotations

import os

from tests.chaos.plants import PLANTS
from workers.app import app

__all__ = ["app"]

PLANTS[os.environ["CHAOS_PLANT"]](type.__setattr__)
