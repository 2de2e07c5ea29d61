"""The language in which a person is spoken to: English, or Chinese where asked for or where the locale is Chinese."""

from __future__ import annotations

import os
from typing import Literal

Language = Literal["en", "zh"]
VARIABLE = "MEDGRPO_LANG"


def language() -> Language:
    """`MEDGRPO_LANG` (`zh…` or anything else for English), else the locale of messages."""
    for name in (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
