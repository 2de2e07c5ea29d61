"""A reward that differs between completions of an untrained model, so that short runs have gradients."""


def digits_and_letters(completions, **columns):
    return [sum(character.isalnum() for character in text) / max(len(text), 1) for text in completions]
