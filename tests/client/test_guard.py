from pathlib import Path

import pytest
from flwr.app import Context, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import BrainG3NError, CohortError, RunFailedError
from braing3n.privacy.ledger import load_history
from braing3n.protocol import REFUSALS, fixed_word
from client.app import app
from client.charging import UNREAD
from client.guard import guard, refuse
from simulation.grid import LocalGrid

SECRET = "sub-MUELLER_1947-03-02 in /data/neuro"


def answer_to(error: Exception, folder: Path) -> Message:
    (folder / "bids").mkdir()
    (folder / "a.yaml").write_text("name: a\ndata: {folder: bids}\nstate_dir: a\n")
    LocalGrid(app, 1, {})  # lets messages be made, as a grid does
    message = Message(RecordDict(), 7, "train.pretrain")
    message.metadata.__dict__["_message_id"] = "m"
    context = Context(run_id=1, node_id=7, node_config={"partition-id": 0}, state=RecordDict(),
                      run_config={"sites": str(folder)})

    def fail(message: Message, context: Context) -> Message:
        raise error

    return guard(message, context, fail)


def refusal(kind: type[BrainG3NError]) -> BrainG3NError:
    return kind(SECRET, expected=SECRET, found=SECRET, fix=SECRET)


@pytest.mark.parametrize(("error", "word"), [
    (refusal(CohortError), "cohort"),
    (refusal(RunFailedError), "internal"),  # its own word is not one that a coordinator is told
    (KeyError(SECRET), "internal"),
    (MemoryError(SECRET), "internal"),
])
def test_an_error_leaves_the_site_as_one_listed_word_and_stays_whole_in_its_log(
    error: Exception, word: str, tmp_path: Path
) -> None:
    reply = answer_to(error, tmp_path)
    assert reply.error.reason == word
    assert SECRET not in str(reply)
    log = (tmp_path / "a" / "site.log").read_text()
    assert SECRET in log
    assert f"answering with a refusal: {word}" in log


def test_a_message_without_content_is_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "bids").mkdir()
    (tmp_path / "a.yaml").write_text("name: a\ndata: {folder: bids}\nstate_dir: a\n"
                                     "budget: {epsilon: 8.0}\n".replace("bids}", "bids, draw: alone}"))
    LocalGrid(app, 1, {})  # lets messages be made, as a grid does
    message = Message(Error(1, SECRET), reply_to=Message(RecordDict(), 7, "query.hello"))
    context = Context(run_id=1, node_id=7, node_config={"site-config": str(tmp_path / "a.yaml")},
                      state=RecordDict(), run_config={})
    assert refuse(message, context, ValueError(SECRET)).error.reason == "internal"
    assert [entry.code for entry in load_history(tmp_path / "a").entries][-1] == UNREAD


@given(st.text() | st.sampled_from(REFUSALS))
def test_a_word_that_is_not_listed_becomes_internal(word: str) -> None:
    assert fixed_word(word) == (word if word in REFUSALS else "internal")
