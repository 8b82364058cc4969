"""Ways to run a simulator: `serve` in the foreground of a process, `Simulator` beside other code."""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from provisioner.simulators.client import Control
from provisioner.simulators.control import ControlSide
from provisioner.simulators.site import Options, Site

__all__ = ["OptionValues", "Options", "Simulator", "serve"]

_START_LIMIT = 30.0


class OptionValues(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments."""

    servers: int
    speed: float
    port: int
    control_port: int
    ssh_port: int
    tls: bool
    host: str
    seed: int
    block: int | None
    admin_user: str
    admin_password: str
    latency: str
    types: tuple[str, ...]


def serve(options: Options, *, ready: Callable[[str], None] | None = None) -> None:
    """
    Run a simulator until SIGINT or SIGTERM.

    *ready* gets one line of JSON once everything listens (default: it is printed): `url`,
    `control_url`, `ssh_port`, `admin_user`, `block`, `ca_file`, `certificate_sha256`.

    Raises:
        ValueError: an option that cannot be, with a sentence for the operator.
        OSError: a port is in use.
    """
    asyncio.run(_serve(options, ready or _print))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _serve(options: Options, ready: Callable[[str], None]) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    site, control = await _open(options)
    try:
        ready(json.dumps(_summary(site, control)))
        await done.wait()
    finally:
        await control.http.close()
        await site.stop()


async def _open(options: Options) -> tuple[Site, ControlSide]:
    site = Site(options)
    try:
        control = ControlSide(site)
        await site.start()
        await control.http.start()
    except BaseException:
        await site.stop()
        raise
    return site, control


def _summary(site: Site, control: ControlSide) -> dict[str, object]:
    certificate = site.certificate
    return {
        "url": site.url,
        "control_url": control.url,
        "ssh_port": site.ssh_port,
        "admin_user": site.options.admin_user,
        "block": site.block,
        "servers": len(site.world.servers),
        "ca_file": str(certificate.file) if certificate else None,
        "certificate_sha256": certificate.fingerprint if certificate else None,
    }


class Simulator:
    """
    A simulator in a thread of this process: `with Simulator(servers=5) as sim: sim.url …`.

    `control` is a client of its control side; `ca_file` is what a TLS client must trust.
    """

    def __init__(self, options: Options | None = None, **values: Unpack[OptionValues]) -> None:
        if options is not None and values:
            raise ValueError("either an Options object or keyword arguments, not both")
        self.options = options or Options(**values)
        self.options.check()
        self.url = ""
        self.ssh_port = 0
        self.block = 0
        self.ca_file: Path | None = None
        self.certificate_sha256: str | None = None
        self.admin_user = self.options.admin_user
        self.admin_password = self.options.admin_password
        self._control: Control | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def control(self) -> Control:
        """Return the client of the control side."""
        if self._control is None:
            raise RuntimeError("the simulator does not run")
        return self._control

    @property
    def authinfo(self) -> str:
        """Return the administrator's credentials as the wire wants them."""
        return f"{self.admin_user}:{self.admin_password}"

    def start(self) -> Self:
        """
        Run; return when everything listens.

        Raises:
            ValueError, OSError: what kept it from starting.
        """
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_LIMIT):
            raise RuntimeError(f"the simulator did not start in {_START_LIMIT:.0f} s")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop, and return when everything is closed. Safe to repeat."""
        if self._thread is None or self._loop is None or self._done is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits in start()
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        site, control = await _open(self.options)
        try:
            self.url, self.ssh_port, self.block = site.url, site.ssh_port, site.block
            if site.certificate is not None:
                self.ca_file, self.certificate_sha256 = site.certificate.file, site.certificate.fingerprint
            self._control = Control(control.url)
            self._ready.set()
            await self._done.wait()
        finally:
            await control.http.close()
            await site.stop()
