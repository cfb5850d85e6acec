"""Whatever is wrong with a task, a fixed word goes out, and the site writes down why."""

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from braing3n.privacy.ledger import load_history
from client.charging import UNREAD
from client.guard import FIRST_CODE
from client.node.bundle import own_bundle
from client.node.task import Found
from simulation.grid import LocalGrid

SECRET = "sub-MUELLER_1947-03-02 in /data/neuro"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that keeps a ledger."""
    (tmp_path / "bids").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text("name: site-a\ndata: {folder: bids, draw: alone}\nstate_dir: state\n"
                    "budget: {epsilon: 8.0}\n")
    return path


@pytest.fixture
def asked() -> tuple[Message, Context]:
    """A message, and a context that names other settings."""
    LocalGrid(lambda message, context: message, 1, {})  # lets messages be made, as a grid does
    message = Message(RecordDict({"message": ConfigRecord({"json": SECRET})}), 7, "train.pretrain")
    message.metadata.__dict__["_message_id"] = "m"
    return message, Context(run_id=1, node_id=7, node_config={"site-config": "/elsewhere.yaml"},
                            state=RecordDict(), run_config={})


def echo(message: Message, context: Context) -> Message:
    return Message(RecordDict({"site": ConfigRecord({"is": str(context.node_config["site-config"])})}),
                   reply_to=message)


def fail(message: Message, context: Context) -> Message:
    raise OSError(SECRET)


def recorded(site: Path) -> tuple[str, str | None]:
    state = site.parent / "state"
    return (state / "site.log").read_text(), load_history(state).entries[-1].code


def test_a_good_task_is_answered_by_the_installed_app_for_the_site_of_this_process(site, asked) -> None:
    found = Found(str(site))
    found.look_at(own_bundle(is_refused=False))
    answer = found.answering(echo)(*asked)
    assert answer.content.config_records["site"]["is"] == str(site)


def test_the_text_of_what_the_app_raises_stays_at_the_site(site, asked) -> None:
    answer = Found(str(site)).answering(fail)(*asked)
    assert answer.error.reason == "internal"
    assert answer.error.code >= FIRST_CODE
    assert SECRET not in str(answer)
    log, code = recorded(site)
    assert SECRET in log
    assert code == UNREAD


@pytest.mark.parametrize("bundle", [own_bundle(is_refused=True), b"", b"a server's own"])
def test_a_bundle_that_is_not_ours_is_refused_before_the_app_sees_the_message(
    site, asked, bundle: bytes,
) -> None:
    found = Found(str(site))
    found.look_at(bundle)
    answer = found.answering(lambda *_: pytest.fail("asked"))(*asked)
    assert answer.error.reason == "code"
    log, code = recorded(site)
    assert "refusal: code" in log
    assert code == UNREAD


class Server:
    """The SuperNode, as a task asks it."""

    def PullTaskInput(self, _):  # noqa: N802
        return "input"

    def PullMessages(self, _):  # noqa: N802
        raise ConnectionError


def test_a_task_without_a_message_is_not_answered(site) -> None:
    def pull(client):
        client.PullTaskInput(None)
        client.PullMessages(None)

    with pytest.raises(ConnectionError):
        Found(str(site)).pulling(pull)(Server())
