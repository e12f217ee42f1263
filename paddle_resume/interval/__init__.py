"""How often a run should save: what saves cost, against what failures cost."""
