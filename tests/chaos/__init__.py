"""A whole system under every fault of the outside world and of ourselves, judged by the simulated data centres."""
