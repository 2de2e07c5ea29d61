"""Naive twins of the text rewards, written to be obviously right."""

from __future__ import annotations

import re
import string
from collections import Counter

TAG = re.compile(r"<[ \t\r\n\f]*(/?)[ \t\r\n\f]*([a-zA-Z0-9_-]+)[ \t\r\n\f]*>")


def tag_states(completion: str, tags: list[str]) -> list[str]:
    """State of each tag, from the list of all opening and closing tags."""
    events = [(m[2].lower(), bool(m[1])) for m in TAG.finditer(completion) if m[2].lower() in tags]
    return [_state(tag, events) for tag in tags]


def _state(tag: str, events: list[tuple[str, bool]]) -> str:
    opened = [i for i, event in enumerate(events) if event == (tag, False)]
    closed = [i for i, event in enumerate(events) if event == (tag, True)]
    if len(opened) > 1 or len(closed) > 1:
        return "repeated"
    if not opened:
        return "unopened" if closed else "missing"
    if not closed or closed[0] < opened[0]:
        return "unclosed"
    if closed[0] != opened[0] + 1 or _is_inside_another(opened[0], closed[0], events):
        return "nested"
    return "found"


def _is_inside_another(opened: int, closed: int, events: list[tuple[str, bool]]) -> bool:
    for index, (tag, is_close) in enumerate(events[:opened]):
        closes_before = (tag, True) in events[index:opened]
        if not is_close and not closes_before and (tag, True) in events[closed:]:
            return True
    return False


def words(text: str) -> list[str]:
    """Words of plain ASCII text as the overlap measures see them."""
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in {"a", "an", "the"}]


def word_f1(prediction: str, reference: str) -> float:
    """F1 over `words`."""
    said, wanted = words(prediction), words(reference)
    both = sum((Counter(said) & Counter(wanted)).values())
    return 2 * both / (len(said) + len(wanted)) if said or wanted else 0.0


def token_f1(prediction: str, reference: str) -> float:
    """SQuAD 2.0's: lower case, no ASCII punctuation, no articles, split at blanks."""
    said, wanted = _squad_tokens(prediction), _squad_tokens(reference)
    if not said or not wanted:
        return float(said == wanted)
    same = sum((Counter(said) & Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(said), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _squad_tokens(text: str) -> list[str]:
    kept = "".join(one for one in text.lower() if one not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def levenshtein(left: str, right: str) -> int:
    """Edit distance by the full table."""
    table = [list(range(len(right) + 1))]
    for i, a in enumerate(left, start=1):
        row = [i]
        for j, b in enumerate(right, start=1):
            row.append(min(table[-1][j] + 1, row[-1] + 1, table[-1][j - 1] + (a != b)))
        table.append(row)
    return table[-1][-1]
