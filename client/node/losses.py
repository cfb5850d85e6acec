"""What was lost on the way between this SuperNode and the server, and that nobody else knows of."""

from collections.abc import Callable
from typing import Any

import httpx

from client.node import flower

# The server was not reached; or it said that there is nothing more to do for the run.
_NOT_REACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_HARMLESS = (*_NOT_REACHED, flower.RunNotRunningException, flower.ObjectUnavailableError)


class LostError(Exception):
    """A message or its answer is lost: the server waits for what nobody is at work on."""


class Losses:
    """Ends the SuperNode where something was lost, so that it is started anew.

    Flower hands out each message once, also where the line breaks before it came; and an answer that
    cannot be sent, it gives up. The coordinator would wait for the site until the round is over. A node
    that was started anew is asked again, and the site gives the answer that it has, at no further cost.
    """

    def __init__(self) -> None:
        self._what: str | None = None

    def checked(self, receive: Callable[[], Any]) -> Callable[[], Any]:
        """Return the call for the next message, which ends the SuperNode where something was lost.

        A message that came nevertheless is answered first.
        """

        def received() -> Any:
            self._check()
            message = receive()
            if message is None:
                self._check()
            return message

        return received

    def _check(self) -> None:
        if self._what is not None:
            raise LostError(f"lost on the way: {self._what}")

    def watched(
        self, call: Callable[..., Any], what: str,
        is_loss: Callable[[Exception], bool] = lambda error: not isinstance(error, _HARMLESS),
    ) -> Callable[..., Any]:
        """Return a call whose failures are remembered, and do not disturb the task that is at work.

        Args:
            call: The call.
            what: What is lost where it fails, in words.
            is_loss: Whether something is, by how it failed.
        """

        def called(*arguments: Any, **named: Any) -> Any:
            try:
                return call(*arguments, **named)
            except Exception as error:
                if is_loss(error):
                    self._what = what
                raise

        return called


def may_hold_a_message(error: Exception) -> bool:
    """Return whether the server may have handed out a message in an answer that has not come."""
    if isinstance(error, httpx.HTTPStatusError):  # 503: nginx's limits
        return error.response.is_server_error and error.response.status_code != 503
    return not isinstance(error, _NOT_REACHED)
