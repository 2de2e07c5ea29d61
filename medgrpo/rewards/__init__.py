"""Reward functions for text, boxes and masks, and their sum."""
