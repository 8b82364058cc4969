"""`python -m provisioner.simulators`: a simulated data centre in the foreground, for child processes."""

import argparse
import sys
from collections.abc import Sequence

from provisioner.simulators.serve import Options, serve

_EXAMPLES = """\
examples:
  python -m provisioner.simulators --servers 50 --speed 60
  python -m provisioner.simulators --tls --port 1500 --control-port 1501
"""


def parse(arguments: Sequence[str]) -> Options:
    """Return the options that *arguments* ask for."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m provisioner.simulators",
        description="Run a simulated data centre with a DCImanager 5 panel. Prints one line of JSON when ready.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", type=int, default=default.servers, help="size of the fleet (%(default)s)")
    parser.add_argument("--speed", type=float, default=default.speed, help="how much faster than life (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of the panel (a free one)")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control side (a free one)")
    parser.add_argument("--ssh-port", type=int, default=0, help="SSH port of all machines (a free one)")
    parser.add_argument("--tls", action=argparse.BooleanOptionalAction, default=default.tls, help="speak HTTPS")
    parser.add_argument("--host", default=default.host, help="loopback address to listen on (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of every draw (%(default)s)")
    parser.add_argument("--block", type=int, help="second octet of the 127.x network (the first free one)")
    parser.add_argument("--admin-user", default=default.admin_user, help="administrator (%(default)s)")
    parser.add_argument("--admin-password", default=default.admin_password, help="and his password (%(default)s)")
    parser.add_argument("--latency", choices=("none", "real"), default=default.latency, help="of calls (%(default)s)")
    parser.add_argument("--type", dest="types", action="append", default=[], help="type of server; may be repeated")
    values = vars(parser.parse_args(arguments))
    return Options(**{**values, "types": tuple(values["types"])})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit code: 0, or 2 for options that cannot be."""
    try:
        serve(parse(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
