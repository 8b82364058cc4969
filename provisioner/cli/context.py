"""What every command starts from: settings read, ports plugged in, who is at the keyboard."""

import getpass

from provisioner import bootstrap, config
from provisioner.bootstrap import App


def app() -> App:
    """
    Plug everything together; nothing is connected to yet.

    Raises:
        BadConfig: a setting is missing or wrong.
    """
    return bootstrap.build(config.load())


def operator() -> str:
    """Return who gives the command, for timelines."""
    try:
        return f"cli {getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in a container
        return "cli"
