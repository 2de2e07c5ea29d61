"""Before a run: what is checked, which rows, in what order of difficulty, on how many processes."""
