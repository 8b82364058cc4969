"""Rules of the engine, taken away one by one on a copy of the tree: each time a test must go red."""
