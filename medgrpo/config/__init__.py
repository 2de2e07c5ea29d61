"""Typed run configuration: presets, layers, checks."""
