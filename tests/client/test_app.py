from pathlib import Path

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from braing3n.protocol import REFUSALS, Hello
from client.app import app
from server.roster import expected_code_digest
from simulation.grid import LocalGrid

import numpy as np  # isort: skip


@pytest.fixture(scope="module", autouse=True)
def _identity() -> None:
    """Let messages be made, as a grid does."""
    LocalGrid(app, 1, {})


def call(kind: str, content: RecordDict, sites: Path | str = "") -> Message:
    message = Message(content, 7, kind)
    message.metadata.__dict__["_message_id"] = "m"
    return app(message, Context(run_id=1, node_id=7, node_config={"partition-id": 0},
                                state=RecordDict(), run_config={"sites": str(sites)}))


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    (tmp_path / "bids").mkdir()
    (tmp_path / "a.yaml").write_text("name: a\ndata: {folder: bids}\nstate_dir: a\n")
    return tmp_path


def test_hello_says_the_name_and_the_digest_of_the_running_code(sites: Path) -> None:
    reply = call("query.hello", RecordDict(), sites)
    hello = Hello.model_validate_json(str(reply.content.config_records["message"]["json"]))
    assert hello.site == "a"
    assert hello.code_digest == expected_code_digest()


def test_a_node_without_a_site_answers_with_a_fixed_word(capsys: pytest.CaptureFixture) -> None:
    reply = call("query.hello", RecordDict())
    assert reply.error.reason == "config"
    assert "does not know its site" in capsys.readouterr().err


records = st.dictionaries(
    st.sampled_from(["message", "arrays", "x"]),
    st.one_of(
        st.dictionaries(st.sampled_from(["json", "y"]), st.text(max_size=30)).map(ConfigRecord),
        st.just(MetricRecord({"a": 1.0})),
        st.binary(max_size=40).map(
            lambda data: ArrayRecord({"w": Array("float32", (3,), "numpy.ndarray", data)})
        ),
        st.just(ArrayRecord([np.zeros(3, np.float32)])),
    ),
)


@given(st.sampled_from(["query.install", "query.moments", "train.pretrain", "train.decoder",
                        "evaluate", "query.probe"]), records)
def test_no_content_makes_the_client_fail_or_say_more_than_a_fixed_word(
    kind: str, content: dict
) -> None:
    reply = call(kind, RecordDict(content))
    assert reply.has_error()
    assert reply.error.reason in REFUSALS
