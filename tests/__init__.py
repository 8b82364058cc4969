"""The tests: unit, contract, integration and end to end; `./run test` runs them."""
