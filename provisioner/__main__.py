"""`python -m provisioner`: the command line, and the demo, which stands a floor above it."""

import sys

from provisioner import bootstrap
from provisioner.cli import main as cli
from provisioner.demo import command


def main() -> None:
    """Run one command and end with its exit code."""
    bootstrap.log_to_stderr()
    app = cli.make()
    app.command("demo", epilog=command.EPILOG)(command.demo)
    sys.exit(cli.run(app))


if __name__ == "__main__":
    main()
