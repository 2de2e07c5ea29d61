"""What watches a run: display, phases, samples, memory, numbers that stop being finite."""
