"""Text that every terminal, file and program takes, whatever bytes the name of a file has."""


def printable(text: str) -> str:
    """Return a text on one line, with escapes in place of what cannot be shown.

    Names of files need not be valid UTF-8, and may hold what moves a terminal's cursor.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(mark if mark.isprintable() else f"\\x{ord(mark):02x}" for mark in text)
