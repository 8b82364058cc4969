"""A site with real Celery workers, broker and Flower as child processes, on a fake data centre of this process."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from provisioner.cli import processes
from provisioner.config import Settings
from provisioner.demo.children import Children, free_port
from provisioner.demo.client import Api, ApiError
from provisioner.domain.catalogue import Role
from provisioner.drivers.fake import FakeDatacentre, Pace, serve_fake
from provisioner.store.catalogue import CatalogueStore
from provisioner.usecases import recipes, tokens
from provisioner.wakeup import BackgroundWaker, CeleryWaker, celery_app
from tests.site import Site

ROOT = Path(__file__).parents[1]
OVERRIDES = {
    "call": 1.5, "soft": 2.0, "hard": 2.5, "lease": 3.0, "reconcile": 0.2, "observe_short": 0.3, "observe_long": 0.3,
    "observe_stock": 1.0, "view_age": 2.0, "wake_grace": 1.0, "wake_most": 4.0, "pass_over": 2.0, "probe": 0.5,
}  # fmt: skip
POLICIES = {"install_os": {"settle": 6, "deadline": 120}}
SCALE = 0.02
SHORT_PATIENCE = {
    "PROVISIONER_SPANS": json.dumps(OVERRIDES),
    "PROVISIONER_STEP_SCALE": str(SCALE),
    "PROVISIONER_POLICIES": json.dumps(POLICIES),
}
START_SECONDS = 60.0


@dataclass(frozen=True)
class Seen:
    """One task as Flower shows it."""

    id: str
    name: str
    state: str
    root: str
    parent: str | None
    result: str
    exception: str
    received: float
    whole: str  #: all that Flower says of it


class House(Site):
    """Real processes around a site; `steps` and `control` workers may be killed, the broker stopped."""

    def __init__(self, url: str, folder: Path, name: str, *, production: bool = False) -> None:
        self.patience: dict[str, str] = {} if production else SHORT_PATIENCE
        spans = {} if production else OVERRIDES
        super().__init__(url, spans=Settings(spans=spans).engine_spans(), scale=1.0 if production else SCALE)
        self.children, self.folder = Children(), folder / name
        self.folder.mkdir(mode=0o700)
        self.world = FakeDatacentre(lambda: datetime.now(UTC), pace=Pace(install_lasts=timedelta(seconds=1)))
        self.address = str(folder / f"{name}.world")
        self.broker_url = self.flower_url = ""
        self._settings: dict[str, str] = {}

    def start(self, *, flower: bool) -> None:
        python = sys.executable
        self.children.start(
            "broker",
            [python, "-m", "provisioner.demo.broker"],
            env={"PATH": os.defpath},
            log=self.log("broker"),
            cwd=ROOT,
        )
        self.wait(lambda: self.log("broker").read_text().startswith("redis://"), START_SECONDS)
        self.broker_url = self.log("broker").read_text().splitlines()[0]
        self._settings = {
            "PATH": os.defpath,
            "FAKE_WORLD": self.address,
            "PROVISIONER_DATABASE_URL": self.database.url,
            "PROVISIONER_BROKER_URL": self.broker_url,
            "PROVISIONER_SECRET_KEY": self.key,
            **self.patience,
            "FLOWER_UNAUTHENTICATED_API": "true",
        }
        visible = celery_app(self.broker_url, self.spans)
        hidden = celery_app(self.broker_url, self.spans, visible=False)
        sender = CeleryWaker(visible, hidden, name_of=recipes.task_name, label_of=recipes.label)
        self.sender = BackgroundWaker(sender)
        self.waker = self.sender  # type: ignore[assignment]
        if flower:
            port = free_port()
            self.flower_url = f"http://127.0.0.1:{port}"
            self._celery("flower", processes.flower_argv("127.0.0.1", port))
            self.wait(lambda: self._answers("/healthcheck"), START_SECONDS)
        self._celery("steps", processes.worker_argv("steps,observe", 3, "steps"))
        self._celery("control", processes.worker_argv("control,outbox", 2, "control"))
        self.wait(lambda: self.database.row("SELECT FROM heartbeat") is not None, START_SECONDS)

    def serve_api(self) -> Api:
        """Start the API; give a client of it that orders for our panel."""
        port = free_port()
        self.children.start(
            "api", processes.api_argv("127.0.0.1", port), env=self._settings, log=self.log("api"), cwd=ROOT
        )
        catalogue = CatalogueStore(self.database, self.vault, self.spans)
        made = tokens.create("billing", Role.BILLING, panel="panel", catalogue=catalogue)
        api = Api(f"http://127.0.0.1:{port}", made.token)

        def up() -> bool:
            try:
                api.get("/healthz")
            except ApiError:
                return False
            return True

        self.wait(up, START_SECONDS)
        return api

    def _celery(self, name: str, argv: list[str]) -> None:
        argv = ["tests.fake_workers" if word == "workers.app" else word for word in argv]
        self.children.start(name, argv, env=self._settings, log=self.log(name), cwd=ROOT, restart=True)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def wait(self, held: Callable[[], bool], seconds: float) -> None:
        """Look until *held*, bringing back who ended; fails with the trail and the workers' last words."""
        ends = time.monotonic() + seconds
        while not held():
            self.children.tend()
            assert time.monotonic() < ends, f"{self.trail()}\n{self.words()}"
            time.sleep(0.05)

    def words(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(self.folder.glob("*.log")))

    # --- Flower ---------------------------------------------------------------------------------------------------

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.flower_url}{path}", timeout=5) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)
        except OSError:
            return False

    def flower(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask Flower's API."""
        with urllib.request.urlopen(f"{self.flower_url}/api/{path}", timeout=10) as answer:  # noqa: S310 - our own
            return json.loads(answer.read())

    def seen(self, job: int) -> list[Seen]:
        """Give what Flower shows of a job, in the order in which workers received it."""
        found = []
        for name in self.flower("tasks?limit=1000"):
            if name.startswith(f"{job}."):
                info = self.flower(f"task/info/{name}")
                found.append(
                    Seen(
                        id=name, name=info["name"], state=info["state"], root=info["root_id"] or "",
                        parent=info["parent_id"], result=info["result"] or "", exception=info["exception"] or "",
                        received=info["received"] or 0.0, whole=json.dumps(info),
                    )
                )  # fmt: skip
        return sorted(found, key=lambda task: task.received)


def in_order(tasks: list[Seen]) -> list[str]:
    """Give the names of tasks, each once, in order."""
    return list(dict.fromkeys(task.name for task in tasks))


@contextmanager
def house(url: str, folder: Path, name: str, *, flower: bool, production: bool = False) -> Iterator[House]:
    """Have everything up inside, and nothing left behind; spans are short, or those of *production*."""
    made = House(url, folder, name, production=production)
    try:
        with serve_fake(made.world, made.address):
            try:
                made.start(flower=flower)
                yield made
            finally:
                made.world.heal()
                made.children.stop(grace=5)
    finally:
        made.database.close()


def plain(text: str) -> str:
    """Give a log without the colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
