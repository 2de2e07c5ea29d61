"""Completions of a model: engines, server, vLLM, resumable generation, one question."""
