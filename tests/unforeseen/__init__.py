"""Odd things of kinds that no other list here has: settings, folders, files, models, servers, surroundings.

`python -m tests.unforeseen` tries all; each runs in a process of its own, in a fresh copy of the artefacts.
"""
