"""Exit codes of every command, named in one place; touches nothing."""

from enum import IntEnum

from provisioner import errors


class Code(IntEnum):
    """What a script can tell apart."""

    OK = 0
    FAILED = 1  #: what was asked did not come true: a job that failed, a broken promise, a bug
    USAGE = 2  #: the line itself is wrong
    REFUSED = 3  #: not legal now, not acceptable, or used up; nothing was changed
    NOT_FOUND = 4  #: no such thing
    REMOTE = 5  #: the data centre does not do it, or is away
    CONFIG = 6  #: a setting is wrong or missing
    DATABASE = 7  #: the database is away, or not migrated
    INTERRUPTED = 130  #: Ctrl-C


#: First fit, from the special to the general.
_CODES: tuple[tuple[type[BaseException], Code], ...] = (
    (errors.NotFound, Code.NOT_FOUND),
    (errors.Refused, Code.REFUSED),
    (errors.RemoteError, Code.REMOTE),
    (errors.BadConfig, Code.CONFIG),
    (errors.Overloaded, Code.DATABASE),
    (errors.ProvisionerError, Code.FAILED),
    (OSError, Code.FAILED),
)

#: Rooms of libraries whose errors mean that the database is away; only the store may import them.
_DATABASE = ("sqlalchemy", "psycopg2", "alembic")


def code_of(error: BaseException) -> Code:
    """Return the exit code for *error*."""
    if type(error).__module__.partition(".")[0] in _DATABASE:
        return Code.DATABASE
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.FAILED)


def sentence(error: BaseException) -> str:
    """Return what a person reads: what, where, what to do; one line, no traceback."""
    text = " ".join(str(error).split())
    if code_of(error) is Code.DATABASE and not isinstance(error, errors.Overloaded):
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        if "does not exist" in cause and "relation" in cause:
            return "the database has no tables yet: type `provisioner db upgrade`"
        return f"the database does not do it: {cause}; see PROVISIONER_DATABASE_URL"
    if isinstance(error, errors.ProvisionerError | OSError) and text:
        return text
    return f"a bug: {type(error).__name__}: {text}"
