"""The experiment behind StaticDropout: clips whose texture gives the label away, and what keeps a model from it."""
