"""The one room that knows everybody: Settings in, App (the ports, plugged in) out."""

import logging
import os
import socket
import sys
import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from structlog.typing import Processor

from provisioner.config import Settings
from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.desks.webhook import WebhookDesk, WebhookSecret
from provisioner.domain.attempt import Policy
from provisioner.domain.matters import Texts
from provisioner.domain.spans import Spans
from provisioner.domain.wording.texts import SHIPPED, replaced
from provisioner.drivers.http import Caller
from provisioner.drivers.registry import Registry
from provisioner.errors import BadConfig, Invalid
from provisioner.ports import Waker
from provisioner.prober import NetworkProber, ProbeKind, can_send_icmp, parse_probe
from provisioner.store import migrate
from provisioner.store.adoption import AdoptionStore
from provisioner.store.audit import AuditStore
from provisioner.store.callbacks import CallbacksStore
from provisioner.store.catalogue import CatalogueStore
from provisioner.store.closings import ClosingsStore
from provisioner.store.database import Database
from provisioner.store.endpoints import EndpointLoader
from provisioner.store.engine import EngineStore
from provisioner.store.heartbeats import HeartbeatStore
from provisioner.store.holds import HoldsStore
from provisioner.store.installation import InstallationStore, greet
from provisioner.store.keys import KeysStore
from provisioner.store.life import LifeStore
from provisioner.store.listener import Listener
from provisioner.store.observer import ObserverStore
from provisioner.store.planning import PlanningStore
from provisioner.store.prune import PruneStore
from provisioner.store.quarantine import QuarantineStore
from provisioner.store.questions import QuestionsStore
from provisioner.store.reads import ReadsStore
from provisioner.store.reconciler import ReconcilerStore
from provisioner.store.services import ServicesStore
from provisioner.store.tickets import TicketsStore
from provisioner.usecases import recipes
from provisioner.usecases.answer import PATH, link_token
from provisioner.usecases.run_step import Tools
from provisioner.vault import KeyFile, KeyVault
from provisioner.wakeup import BackgroundWaker, CeleryApp, CeleryBroker, CeleryWaker, celery_app
from provisioner.webhook import WebhookSender, networks

TEXTS_MOST = 1_000_000  #: bytes of a file with texts
#: total limit of one conversation with a desk or a billing panel, where a call to a DCIM has no shorter one
DESK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class App:
    """All ports, plugged in."""

    settings: Settings
    spans: Spans
    policies: Mapping[str, Policy]
    database: Database
    engine: EngineStore
    reconciler: ReconcilerStore
    planner: PlanningStore
    quarantine: QuarantineStore
    observer: ObserverStore
    services: ServicesStore
    life: LifeStore
    holds: HoldsStore
    catalogue: CatalogueStore
    reads: ReadsStore
    heartbeats: HeartbeatStore
    pruner: PruneStore
    keys: KeysStore
    installation: InstallationStore
    audits: AuditStore
    adoptions: AdoptionStore
    tickets: TicketsStore
    closings: ClosingsStore
    questions: QuestionsStore
    desks: DeskRegistry
    callbacks: CallbacksStore
    webhooks: WebhookSender
    listener: Listener
    vault: KeyVault
    drivers: Registry
    prober: NetworkProber
    waker: Waker
    broker: CeleryBroker
    celery: CeleryApp

    def tools(self, *interrupted: type[BaseException]) -> Tools:
        """Give what `run_step` may use; *interrupted*: raised when a touch's time is up."""
        return Tools(
            engine=self.engine,
            drivers=self.drivers,
            prober=self.prober,
            vault=self.vault,
            waker=self.waker,
            policies=self.policies,
            spans=self.spans,
            interrupted=interrupted,
        )


def answer_link(app: App) -> Callable[[int], str]:
    """Give what makes the link to a question, "" where people can't reach us."""
    base = app.settings.public_url.rstrip("/")

    def link(question: int) -> str:
        return f"{base}{PATH}{link_token(question, vault=app.vault)}" if base else ""

    return link


def build(settings: Settings, *, worker: bool = False) -> App:
    """
    Plug everything together; connects to nothing yet.

    A *worker* has one database connection and sends its messages at once; others send from a thread.

    Raises:
        BadConfig: a setting is missing or wrong; the message names the variable.
    """
    if not settings.database_url:
        raise BadConfig("PROVISIONER_DATABASE_URL is not set; example: postgresql://provisioner@127.0.0.1/provisioner")
    spans = settings.engine_spans()
    policies = recipes.policies(settings.policies, scale=settings.step_scale)
    recipes.check_patience(policies, spans)
    database = Database(settings.database_url, pool_size=1 if worker else settings.api_pool, greet=greet)
    vault = _vault(settings)
    webhooks = WebhookSender(
        allowed=networks(settings.callback_networks),
        ca_file=settings.callback_ca_file,
        total_seconds=min(DESK_SECONDS, spans.call),
    )
    celery = celery_app(settings.broker_url, spans)
    hidden = celery_app(settings.broker_url, spans, visible=False)
    sender = CeleryWaker(celery, hidden, name_of=recipes.task_name, label_of=recipes.label)
    return App(
        settings=settings,
        spans=spans,
        policies=policies,
        database=database,
        engine=EngineStore(database, spans),
        reconciler=ReconcilerStore(database, spans),
        planner=PlanningStore(database, spans),
        quarantine=QuarantineStore(database),
        observer=ObserverStore(database, spans),
        services=ServicesStore(database),
        life=LifeStore(database, spans),
        holds=HoldsStore(database),
        catalogue=CatalogueStore(database, vault, spans),
        reads=ReadsStore(database),
        heartbeats=HeartbeatStore(database),
        pruner=PruneStore(database),
        keys=KeysStore(database),
        installation=InstallationStore(database),
        audits=AuditStore(database, spans),
        adoptions=AdoptionStore(database),
        tickets=TicketsStore(database, spans, texts(settings.texts_file)),
        closings=ClosingsStore(database, spans),
        questions=QuestionsStore(database),
        desks=DeskRegistry(
            {"email": _mail(settings, spans), "rt": _rt(settings, spans), "webhook": _webhook(settings, webhooks)}
        ),
        callbacks=CallbacksStore(database, spans),
        webhooks=webhooks,
        listener=Listener(database),
        vault=vault,
        drivers=Registry(EndpointLoader(database, vault, spans)),
        prober=NetworkProber(),
        waker=sender if worker else BackgroundWaker(sender),
        broker=CeleryBroker(celery),
        celery=celery,
    )


def check_probe(text: str) -> None:
    """
    Return for a probe that this host can send.

    Raises:
        Invalid: it can't be read, or is ICMP, which this process may not send.
    """
    if parse_probe(text).kind is ProbeKind.ICMP and (why_not := can_send_icmp()):
        raise Invalid(f"probe icmp: {why_not}", field="probe")


def key_file(settings: Settings) -> KeyFile:
    """Give the key file to change. Raises `BadConfig` where the keys are in no file."""
    if settings.secret_key_file is None:
        raise BadConfig("PROVISIONER_SECRET_KEY_FILE is not set: only keys in a file are rotated while everything runs")
    return KeyFile(settings.secret_key_file)


def texts(file: Path | None, *, name: str = "PROVISIONER_TEXTS_FILE") -> Texts:
    """
    Give the texts of messages to people: ours, with those of *file* in their place.

    Raises:
        BadConfig: it can't be read or used; the sentence begins with *name* and the file, and says what is allowed.
    """
    if file is None:
        return SHIPPED
    try:
        with file.open("rb") as opened:
            content = opened.read(TEXTS_MOST + 1)  # not the size it says it has: it may be no regular file
        if len(content) <= TEXTS_MOST:
            return replaced(tomllib.loads(content.decode()))
        why = f"it is longer than {TEXTS_MOST} bytes"
    except OSError as error:
        why = f"it can't be read: {error.strerror}"
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 in line {len(error.object[: error.start + 1].splitlines())}"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = f"it is no TOML: {error}"
    except BadConfig as error:
        why = str(error)
    raise BadConfig(f"{name} {file}: {why}")


def _vault(settings: Settings) -> KeyVault:
    if settings.secret_key_file is not None:
        return KeyVault.from_file(settings.secret_key_file)
    return KeyVault.from_text(settings.secret_key.get_secret_value())


def _mail(settings: Settings, spans: Spans) -> EmailDesk | None:
    """Give the desk that sends mail, None where no mail server is set. Raises `BadConfig`."""
    if not settings.smtp_url:
        return None
    password = settings.smtp_password.get_secret_value()
    if settings.smtp_password_file is not None:
        password = _read(settings.smtp_password_file, "PROVISIONER_SMTP_PASSWORD_FILE")
    return EmailDesk(
        MailServer(
            url=settings.smtp_url,
            sender=settings.smtp_from,
            username=settings.smtp_username,
            password=password,
            ca_file=settings.smtp_ca_file,
            total_seconds=min(DESK_SECONDS, spans.call),
        )
    )


def _rt(settings: Settings, spans: Spans) -> RtDesk | None:
    """Give the desk in Request Tracker, None where none is set. Raises `BadConfig`."""
    if not settings.rt_url:
        return None
    if settings.rt_token_file is None:
        raise BadConfig("PROVISIONER_RT_TOKEN_FILE is not set: RT is asked with a token")
    token = _read(settings.rt_token_file, "PROVISIONER_RT_TOKEN_FILE")
    server = RtServer(settings.rt_url, token, total_seconds=min(DESK_SECONDS, spans.call))
    return RtDesk(
        server, Caller(f"RT at {server.place}", ca_file=settings.rt_ca_file, variable="PROVISIONER_RT_CA_FILE")
    )


def _webhook(settings: Settings, webhooks: WebhookSender) -> WebhookDesk | None:
    """Give the desk that posts webhooks, None where there is no secret to sign with. Raises `BadConfig`."""
    if settings.webhook_secret_file is None:
        return None
    return WebhookDesk(WebhookSecret(_read(settings.webhook_secret_file, "PROVISIONER_WEBHOOK_SECRET_FILE")), webhooks)


def _read(file: Path, variable: str) -> str:
    """Give a secret out of its file, without the ends of lines around it. Raises `BadConfig`."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{variable} can't be read: {type(error).__name__}") from None


def owner(settings: Settings) -> str:
    """Give a lease owner's name: host, boot, pid namespace, pid, start time, and a random part."""
    return f"{owner_prefix(settings)}{_this_process()}:{uuid.uuid4().hex}"


def owner_prefix(settings: Settings) -> str:
    """Give what all owners of this host, boot and pid namespace begin with."""
    return f"{settings.node or socket.gethostname()}:{_boot_and_namespace()}:"


def dead(owners: list[str], prefix: str) -> list[str]:
    """Give those of *owners* whose process is provably gone: no such pid, or another start time."""
    found = []
    for name in owners:
        pid, started, _ = name.removeprefix(prefix).split(":", 2)
        if _started(int(pid)) != started:
            found.append(name)
    return found


@cache
def _boot_and_namespace() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"


@cache
def _this_process() -> str:
    return f"{os.getpid()}:{_started(os.getpid())}"


os.register_at_fork(after_in_child=_this_process.cache_clear)  # a child has a name of its own


def _started(pid: int) -> str:
    """Give a process's start time in clock ticks since boot, "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def log_to_stderr() -> None:
    """Log warnings of a command to standard error: its output may be read by a program."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def set_up_logs(settings: Settings) -> None:
    """Log events, one a line: for people, or as JSON."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        raise BadConfig("PROVISIONER_LOG_LEVEL: one of DEBUG, INFO, WARNING, ERROR")
    last = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer(colors=False)
    common: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    _send_the_others_the_same_way(common, last, level)
    structlog.configure(
        processors=[*common, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def _send_the_others_the_same_way(common: list[Processor], last: Processor, level: int) -> None:
    """Let libraries' warnings, and the traceback of a task that crashed, be lines of the same kind."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last], foreign_pre_chain=common
        )
    )
    logging.getLogger("uvicorn.access").addFilter(_without_links)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def _without_links(record: logging.LogRecord) -> bool:
    """Keep a ticket's link out of the log: whoever reads it could answer."""
    if isinstance(record.args, tuple):
        record.args = tuple(f"{PATH}…" if isinstance(one, str) and one.startswith(PATH) else one for one in record.args)
    return True


def upgrade(settings: Settings) -> None:
    """Bring the database to the newest revision; safe to repeat. Raises `BadConfig` when no database is set."""
    migrate.upgrade(_database_url(settings))


def revisions(settings: Settings) -> tuple[str, str]:
    """Give the database's revision, "" for an empty one, and the newest that this release knows."""
    return migrate.present(_database_url(settings)), migrate.newest()


def _database_url(settings: Settings) -> str:
    if not settings.database_url:
        raise BadConfig("PROVISIONER_DATABASE_URL is not set; example: postgresql://provisioner@127.0.0.1/provisioner")
    return settings.database_url
