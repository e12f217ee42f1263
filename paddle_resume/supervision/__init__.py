"""Keeps a command running: starts it again after a crash, and ends it when one of its processes hangs."""
