"""A group's prompt and picture computed once: the stream that holds them, its attention, positions, features."""
