"""Pictures of finished and running trainings: their curves, and what a model gets wrong."""
