"""Somebody else's text, so that a person sees all of it and a terminal obeys none of it."""

import unicodedata
from typing import Final

__all__ = ["is_unseen", "visible"]

_UNSEEN: Final = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Unicode categories: control, format (text direction too), not assigned, private, half a pair, line and paragraph separator."""
_BLANK: Final = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
"""Letters and marks that show nothing all the same: fillers, joiners, variation selectors, the empty Braille pattern.

Source: Unicode, Default_Ignorable_Code_Point, apart from the categories above.
"""


def visible(text: str) -> str:
    """Return somebody else's text with nothing that a terminal obeys or that stays unseen: such characters are spelt out."""
    return "".join(char.encode("unicode_escape").decode() if char not in "\n\t" and is_unseen(char) else char for char in text)


def is_unseen(char: str) -> bool:
    """Tell whether a character shows nothing, or is one that a terminal obeys."""
    return char in _BLANK or unicodedata.category(char) in _UNSEEN
