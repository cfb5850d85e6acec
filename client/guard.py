"""The one place that catches everything: fixed words go out, detail stays at the site."""

import sys
import traceback

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from braing3n.errors import BrainG3NError, ProtocolError
from braing3n.protocol import FIRST_CODE, REFUSALS, fixed_word
from client.charging import record_refusal
from client.egress import check_asked, let_out
from client.reading import text_of
from client.round_records import take_record
from client.site import open_site

# The end of an exception's text, which says what to do: a message can have a million mistakes.
_LONGEST_TEXT = 1 << 15


class SiteApp(ClientApp):
    """Flower's app, which answers messages of an unknown type as well.

    Flower looks for a message's handler before it comes to the guard, and raises where there is none.
    """

    def __call__(self, message: Message, context: Context) -> Message:
        """Return the answer to a message, whatever it is."""
        try:
            return super().__call__(message, context)
        except ValueError as error:  # the guard lets none through
            return refuse(message, context, ProtocolError(
                "there is no answer to messages of this type", expected="a type of this version",
                found=str(error)[:200], fix="run the same software version on both sides"))


def guard(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower mod: run the handler, and turn any exception into an error reply without detail.

    Flower sends the text of an exception to the coordinator as it is, and such texts hold paths
    and subject ids. What a handler answers leaves through one gate.
    """
    try:
        site = open_site(context)
        asked = check_asked(site, message)
        if asked.task is not None:
            take_record(site, asked.task)
        return let_out(site, asked, call_next(message, context))
    except Exception as error:  # noqa: BLE001  # the text of any exception may name a patient
        return refuse(message, context, error)


def refuse(message: Message, context: Context, error: Exception) -> Message:
    """Return the reply for an exception: a fixed word. What it was is written down at the site."""
    word = fixed_word(error.code) if isinstance(error, BrainG3NError) else "internal"
    _record(message, context, word, error)
    return Message(Error(FIRST_CODE + REFUSALS.index(word), word), reply_to=message)


def _record(message: Message, context: Context, word: str, error: Exception) -> None:
    """Write what goes out and why into the site's log, and that it does into its ledger.

    Where there is no log, the console is told.
    """
    told = "".join(traceback.format_exception(error))
    text = f"answering with a refusal: {word}\n{told[-_LONGEST_TEXT:]}"
    try:
        site = open_site(context)
        site.log(text)
        record_refusal(site, _task_of(message), word)
    except Exception:  # noqa: BLE001  # without a readable site file there is no log
        sys.stderr.write(text)


def _task_of(message: Message) -> str:
    """Return the text of a message, or nothing where there is none."""
    try:
        return text_of(message)
    except ProtocolError:
        return ""
