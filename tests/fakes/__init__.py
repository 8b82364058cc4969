"""What stands in for the outside in tests; somebody else's code wherever there is some."""
