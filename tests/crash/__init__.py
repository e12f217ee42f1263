"""What the crash proofs share: states to compare bit for bit, processes to kill, and a model of a disk."""
