"""Training with several processes: who takes part, what they exchange, and which share of a batch is whose."""
