"""One simulated data centre with real wires; loopback only, and never a driver's code in here."""

from provisioner.simulators.client import Control, ControlError
from provisioner.simulators.serve import Options, Simulator, serve

__all__ = ["Control", "ControlError", "Options", "Simulator", "serve"]
