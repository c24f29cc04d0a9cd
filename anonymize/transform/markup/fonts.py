"""The names of common fonts: those alone stay in a text, for another one may be anybody's."""

from __future__ import annotations

import re

_FONT = re.compile(
    r"(?i)(?:times(?: new roman)?|arial(?: (?:black|narrow|unicode ms))?|calibri(?: light)?|cambria(?: math)?|courier(?: new)?|"
    r"helvetica(?: neue)?|"
    r"symbol|wingdings ?\d?|webdings|tahoma|verdana|georgia|segoe ui|ms (?:sans serif|serif|shell dlg|mincho|gothic)|simsun|consolas|"
    r"aptos|menlo|"
    r"liberation (?:sans|serif|mono)|dejavu sans|lucida console|garamond|book antiqua|trebuchet ms|comic sans ms|palatino linotype|monaco|"
    r"serif|sans-serif|monospace|system-ui|inherit|(?:(?:bold|italic|normal|small-caps|\d+(?:px|pt|em|%)?(?:/\d+(?:px|pt|em|%)?)?) ?)+"
    r"(?:arial|calibri|courier|helvetica|tahoma|times|verdana|serif|sans-serif|monospace)?)"
)


def is_font(name: str) -> bool:
    """Whether a name is a common font's, or a word of CSS that stands where one may."""
    return _FONT.fullmatch(name) is not None
