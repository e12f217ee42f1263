"""Exactness for training loops of others, whose source stays as it is."""
