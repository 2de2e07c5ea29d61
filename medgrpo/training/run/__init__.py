"""The run and its stages: state, checkpoints, resume, retry, validation, outcome."""
