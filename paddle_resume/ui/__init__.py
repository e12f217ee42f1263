"""What a person sees: the console of a run, and tables."""
