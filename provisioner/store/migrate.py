"""Brings a database to the newest revision, and says which one it has; used by `db upgrade` and readiness."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

ADVISORY_LOCK = 7_310_158  #: any number: two upgrades at once wait for each other
_FOLDER = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config


def upgrade(url: str) -> None:
    """Migrate the database at *url* to the newest revision; safe to repeat and to run twice at once."""
    engine = create_engine(url, poolclass=None)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK})
            connection.commit()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


def newest() -> str:
    """Give the newest revision that this code knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    return head or ""


def present(url: str) -> str:
    """Give the revision of the database at *url*; "" for an empty one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""
    finally:
        engine.dispose()
