"""Generation, scoring and statistics of a model on a dataset."""
