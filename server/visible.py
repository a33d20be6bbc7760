"""Characters that are not seen or move what is seen, as their codes: a terminal obeys some, a page hides others. Pure."""

import unicodedata

# Controls, format characters (zero-width, right-to-left), lone surrogates, separators, private and unassigned ones.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"})
_PLAIN = frozenset("\n\t")


def unseen(text: str) -> set[str]:
    """The characters of a text that a person would not see."""
    return {one for one in set(text) - _PLAIN if unicodedata.category(one) in _UNSEEN}


def visible(text: str) -> str:
    """The text with each of them as its code: ‹U+001B›."""
    text = text.replace("\r\n", "\n")
    return text.translate({ord(one): f"‹U+{ord(one):04X}›" for one in unseen(text)})
