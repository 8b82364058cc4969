"""Every setting: variable, unit, default, meaning; the only reader of the environment."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from provisioner.domain.spans import Spans
from provisioner.errors import BadConfig


class Settings(BaseSettings):
    """Read once; a wrong value stops the process and says which."""

    model_config = SettingsConfigDict(env_prefix="PROVISIONER_", extra="ignore", frozen=True)

    database_url: str = ""  #: PostgreSQL, `postgresql://user@host/name`; required but for the demo
    broker_url: str = "redis://127.0.0.1:6379/0"  #: Redis, Valkey or RabbitMQ
    secret_key: SecretStr = SecretStr("")  #: keys of the vault, newest first, separated by commas
    secret_key_file: Path | None = None  #: file with the keys, one a line; wins over secret_key
    api_pool: Annotated[int, Field(ge=1, le=100)] = 8  #: database connections, and threads, of an API process
    log_json: bool = False  #: log lines as JSON
    log_level: str = "INFO"  #: DEBUG, INFO, WARNING or ERROR
    smtp_url: str = ""  #: mail server: `smtp://` with STARTTLS, `smtps://`, or `smtp+plain://` for a local relay
    smtp_username: str = ""  #: name for it; "" when it asks for none
    smtp_password: SecretStr = SecretStr("")  #: password for it
    smtp_password_file: Path | None = None  #: file with the password; wins over smtp_password
    smtp_from: str = ""  #: from whom the messages are
    smtp_ca_file: Path | None = None  #: authorities in PEM for its certificate; None: the system's
    public_url: str = ""  #: where people reach the API from outside, for links in messages; "": no links
    texts_file: Path | None = None  #: TOML with texts of messages to people, in place of ours; None: ours
    callback_networks: str = ""  #: networks that callbacks may reach though they are private: `192.0.2.0/24,…`
    callback_ca_file: Path | None = None  #: authorities in PEM for receivers' certificates; None: the system's
    rt_url: str = ""  #: Request Tracker, `https://rt.example.net`; "" for none
    rt_token_file: Path | None = None  #: file with the token of the user who we are there
    rt_ca_file: Path | None = None  #: authorities in PEM for its certificate; None: the system's
    webhook_secret_file: Path | None = None  #: file with what messages to webhooks are signed with
    spans: dict[str, float] = Field(default_factory=dict)  #: JSON: overrides of `domain/spans.py`, seconds
    step_scale: Annotated[float, Field(gt=0, le=100)] = 1.0  #: factor on every span of a step's policy
    policies: dict[str, dict[str, float]] = Field(default_factory=dict)  #: JSON: step → field → seconds or number
    node: str = ""  #: this host's name in leases; default: the host's own

    @field_validator("database_url")
    @classmethod
    def _psycopg2(cls, url: str) -> str:
        """Name the PostgreSQL client that we ship: SQLAlchemy 2.1 would take another for `postgresql://`."""
        for prefix in ("postgresql://", "postgres://"):
            if url.startswith(prefix):
                return "postgresql+psycopg2://" + url.removeprefix(prefix)
        return url

    def engine_spans(self) -> Spans:
        """
        Give the engine's spans with the overrides.

        Raises:
            BadConfig: an unknown name, or an order in which a lease could run out under an act.
        """
        try:
            return Spans(**self.spans)  # type: ignore[arg-type]
        except TypeError as error:
            raise BadConfig(f"PROVISIONER_SPANS: {error}") from None


def load(**overrides: Any) -> Settings:
    """
    Read the environment.

    Raises:
        BadConfig: a value is wrong; the message names the variable.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "PROVISIONER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadConfig(f"{name}: {first['msg']}") from None
    except ValueError as error:  # a setting that should be JSON and is not
        raise BadConfig(f"a PROVISIONER_ setting can't be read: {error}") from None
