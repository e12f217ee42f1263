"""State is found, not listed: accounts for everything that can be reached from a run's roots."""
