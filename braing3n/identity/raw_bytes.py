"""Bytes of unknown content: whether they are text, and in which encoding."""

import re

_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
          b"\xfe\xff": "utf-16"}
_SAMPLE = 4096
_RTF = re.compile(r"\\[a-z]{1,32}-?\d{0,8} ?|\\'[0-9a-f]{2}")


def is_text(content: bytes) -> bool:
    """Tell text from numbers and compressed bytes."""
    if _wide_encoding(content) is not None:
        return True
    strange = sum(content.count(byte) for byte in (*range(9), *range(14, 32)))
    return strange == 0 or (strange == content.count(0) and strange * 10 < len(content))


def decoded(raw: bytes) -> str:
    """Return bytes as text, without RTF's own words; control characters become blanks.

    The encoding is the one that is marked or shows in its zeros (UTF-16 and UTF-32), else UTF-8, else
    Western European.
    """
    encoding = _wide_encoding(raw)
    if encoding is not None:
        text = raw.decode(encoding, "replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    text = _RTF.sub("\n", text) if text.startswith("{\\rtf") else text
    strange = {ord(char): " " for char in set(text) if not (char.isprintable() or char in "\t\n\r")}
    return text.translate(strange).strip()


def _wide_encoding(raw: bytes) -> str | None:
    """Return the encoding of text that has two or four bytes a character, or None."""
    marked = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    if marked is not None:
        return marked
    sample = raw[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    # Of other alphabets, the blanks and digits alone have a zero; those are told by their mark.
    if len(sample) >= 8 and max(even, odd) * 3 >= len(sample) and min(even, odd) == 0:
        text = raw.decode("utf-16-be" if even else "utf-16-le", "replace")
        return ("utf-16-be" if even else "utf-16-le") if text[:_SAMPLE].isprintable() or (
            "\n" in text[:_SAMPLE]) else None
    return None
