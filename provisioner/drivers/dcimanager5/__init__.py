"""DCImanager 5: `client.py` speaks its wire, `driver.py` gives it meaning; README.md has the quirks."""
