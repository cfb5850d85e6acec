"""One message at a site: Flower's ClientApp process, with the app that is installed here.

Imported by the server of processes before it forks, so that PyTorch and the rest are imported once.
"""

from collections.abc import Callable
from typing import Any

from flwr.app import Context, Message

from braing3n.errors import CodeError, ProtocolError
from braing3n.service.pieces import ask_sooner
from client.app import app
from client.guard import refuse
from client.node import flower
from client.node.bundle import is_refused

App = Callable[[Message, Context], Message]
Pulled = tuple[Message, Context, Any, Any]  # with Flower's Run and Fab


def run_task(site: str, runtime_address: str, token: str, parent: int) -> None:
    """Pull one message from the SuperNode, answer it, and end.

    Args:
        site: The site's settings; whatever the message comes with, there are no others.
        runtime_address: The SuperNode's, on loopback.
        token: What this task is known by there.
        parent: The process without which this one ends.
    """
    found = Found(site)
    ask_sooner(flower.pull_and_inflate_object_from_tree)
    process: Any = flower.task_process  # Flower has no other place for these three
    process.pull_task_input = found.pulling(process.pull_task_input)
    process.install_from_fab = lambda content, **_: found.look_at(content)  # nothing is installed
    process.get_load_client_app_fn = lambda **_: lambda *_: found.answering(app)
    process.run_clientapp(
        runtime_api_address=runtime_address, token=token, insecure=True, certificates=None,
        parent_pid=parent, runtime_dependency_install=False)


class Found:
    """What is wrong with a task before the app sees it.

    Args:
        site: The site's settings.
    """

    def __init__(self, site: str) -> None:
        self._site = site
        self._wrong: Exception | None = None

    def pulling(self, pull: Callable[[Any], Pulled]) -> Callable[[Any], Pulled]:
        """Return Flower's function that pulls a task, which no content makes fail.

        Where it fails, Flower ends the task without a reply, and the SuperNode waits for it for ever.
        """

        def pulled(client: Any) -> Pulled:
            heard: dict[str, Any] = {}
            for name in ("PullTaskInput", "PullMessages"):
                setattr(client, name, _kept(getattr(client, name), name, heard))
            try:
                return pull(client)
            except Exception as error:
                if not (messages := heard.get("PullMessages")) or not messages.messages_list:
                    raise  # nobody can be answered
                self._wrong = ProtocolError("a message cannot be read", expected="records",
                                            found=type(error).__name__, fix="ask the coordinator")
                message = flower.message_from_proto(messages.messages_list[0])
                message.metadata.__dict__["_message_id"] = messages.message_object_trees[0].object_id
                task = heard["PullTaskInput"]
                return (message, flower.context_from_proto(task.context),
                        flower.run_from_proto(task.run), flower.fab_from_proto(task.fab))

        return pulled

    def look_at(self, bundle: bytes) -> None:
        """Take the bundle that Flower would install."""
        if is_refused(bundle):
            self._wrong = CodeError(
                "the server's bundle was refused", expected="a definition of this app",
                found="what the log of `site run` says", fix="ask the coordinator")

    def answering(self, installed: App) -> App:
        """Return what answers a message: the installed app, or a refusal.

        Whatever the app raises itself, outside its own guard, becomes a fixed word here: Flower would
        send its text.
        """

        def answer(message: Message, context: Context) -> Message:
            context.node_config = {"site-config": self._site}
            if self._wrong is not None:
                return refuse(message, context, self._wrong)
            try:
                return installed(message, context)
            except Exception as error:  # noqa: BLE001  # the text of any may name a patient
                return refuse(message, context, error)

        return answer


def _kept(ask: Callable[[Any], Any], name: str, heard: dict[str, Any]) -> Callable[[Any], Any]:
    def asked(request: Any) -> Any:
        heard[name] = ask(request)
        return heard[name]

    return asked
