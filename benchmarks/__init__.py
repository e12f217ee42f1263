"""Benchmarks, each against the peer that a user would otherwise take, in one run and with the spread shown."""
