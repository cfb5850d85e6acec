"""The one place that catches everything: fixed words go out, detail stays at the site."""

import sys
import traceback

from flwr.app import Context, Error, Message
from flwr.clientapp.typing import ClientAppCallable

from braing3n.errors import BrainG3NError
from braing3n.protocol import FIRST_CODE, REFUSALS, fixed_word
from client.charging import record_refusal
from client.egress import check_asked, let_out
from client.round_records import take_record
from client.site import open_site


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
    text = f"answering with a refusal: {word}\n" + "".join(traceback.format_exception(error))
    try:
        site = open_site(context)
        site.log(text)
        record_refusal(site, _task_of(message), word)
    except Exception:  # noqa: BLE001  # without a readable site file there is no log
        sys.stderr.write(text)


def _task_of(message: Message) -> str:
    """Return the text of a message, or nothing where there is none."""
    if not message.has_content():
        return ""
    try:
        return str(message.content.config_records["message"]["json"])
    except KeyError:
        return ""
