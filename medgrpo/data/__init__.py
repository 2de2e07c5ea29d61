"""Readers of real formats, prompts, splits, leak lint, images, the demo set."""
