"""Bytes on disk: the framing around tensors, durable files, the run folder's lock, and other people's pickles."""
