"""Two people compare words: shown, then typed in or confirmed."""

import typer

from braing3n.enrolment.words import check_words, shown


def agreed(words: str, whose: str, *, given: str | None, yes: bool, to_stderr: bool) -> bool:
    """Show words, and return whether a person says that they are the right ones.

    Args:
        words: Those of the file that is here.
        whose: Who is to read out theirs.
        given: What they have read out, where it was typed in.
        yes: Whether nobody is asked.
        to_stderr: Whether stdout is for a program.

    Raises:
        ProtocolError: Other words were given.
    """
    typer.echo("\n".join([f"the words of {whose}:", *shown(words)]), err=to_stderr)
    if given is not None:
        check_words(given, words, whose)
        return True
    return yes or typer.confirm(f"Has {whose} read out the same words to you, by telephone?",
                                err=to_stderr)
