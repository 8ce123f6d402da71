"""Text of a Markdown page: wrapped lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_WIDTH = 110


def prose(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def bullets(items: Sequence[str], prefix: str = "") -> str:
    """A list, an item for each text; `prefix` stands before every line."""
    wrapper = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=prefix + "- ",
        subsequent_indent=prefix + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(wrapper.fill(item) + "\n" for item in items)
