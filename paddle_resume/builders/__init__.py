"""From a config to objects: the data, the model and its like, and the whole run."""
