"""Learning rates while a run is under way: a warm-up, when schedules step, and schedules replayed."""
