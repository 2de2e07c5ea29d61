"""A reward that differs between completions of an untrained model, so that short runs have gradients."""


def digits_and_letters(completions, **columns):
    return [sum(character.isalnum() for character in text) / max(len(text), 1) for text in completions]


def only_some_questions(completions, answer, **_):
    """`digits_and_letters` for about half of the questions, 0 for the others."""
    judged = digits_and_letters(completions)
    return [value if len(text) % 2 else 0.0 for value, text in zip(judged, answer, strict=True)]


def shortness(completions, **_):
    return [1 / (1 + len(text)) for text in completions]


def starts_with_a_letter(completions, **_):
    return [float(text[:1].isalpha()) for text in completions]


def characters(completions, **_):
    """Very different even for completions of a few tokens."""
    return [float(sum(map(ord, text)) % 97) for text in completions]


def always_one(completions, **_):
    return [1.0] * len(completions)


class Moody:
    """Likes letters at one call and short answers at the next, so that its state decides every reward."""

    def __init__(self):
        self.calls = 0

    def __call__(self, completions, **columns):
        self.calls += 1
        judge = digits_and_letters if self.calls % 2 else shortness
        return judge(completions, **columns)

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def near_miss_then_hit(completions, **_):
    """Groups of four, two a batch: in one the best overlaps by a hair, in the other it hits."""
    values = [0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 0.9]
    return [values[place % len(values)] for place in range(len(completions))]
