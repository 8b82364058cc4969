"""A process of simulated panels, a data centre each: says on stdout where they are, ends when its stdin does."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

from provisioner.simulators import Simulator


def main() -> None:
    """Start as many as the first argument says."""
    with ExitStack() as stack:
        for _ in range(int(sys.argv[1])):
            panel = stack.enter_context(Simulator(servers=0))
            told = {
                "url": panel.url, "control": panel.control.url, "ssh_port": panel.ssh_port,
                "login": panel.admin_user, "password": panel.admin_password,
            }  # fmt: skip
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
