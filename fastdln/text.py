"""Text from files, for people: what would steer a terminal, or fill it, is made harmless."""

from __future__ import annotations

__all__ = ["plain"]


def plain(text: str, longest: int = 80) -> str:
    """Write characters that are not printable (control sequences, changes of direction) as escapes, and cut what is
    long.

    Parameters
    ----------
    text : str
        Anything.
    longest : int
        The most characters of it that are kept.

    Returns
    -------
    str
        One line of printable characters.

    Examples
    --------
    >>> print(plain("\\x1b[31mred"))
    \\x1b[31mred
    """
    kept = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)
