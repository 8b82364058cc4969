"""The DCImanager 5 wire of the simulated data centre; written from dcimanager5.md alone."""
