"""Tasks are forked one by one, know nothing from argv, and none of them ends the executor."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import weakref
from multiprocessing.connection import wait
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from braing3n.protocol import Hello
from client.guard import FIRST_CODE
from client.node import flower
from client.node.executor import ForkedTasks


def command_lines() -> str:
    found = b""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += (folder / "cmdline").read_bytes()
        except OSError:
            continue
    return found.decode(errors="replace")


def test_a_message_is_answered_by_the_app_that_is_installed(half_node) -> None:
    half_node.put("query.hello")
    hello = Hello.model_validate_json(half_node.text(half_node.reply()))
    assert hello.site == "site-a"


def test_an_exceptions_text_does_not_leave_and_the_next_message_is_answered(half_node) -> None:
    for kind in ("train.unheard_of", "evaluate", "train.pretrain"):
        half_node.put(kind, RecordDict({"message": ConfigRecord({"json": "sub-MUELLER"})}))
        reply = half_node.reply()
        assert reply.error.code >= FIRST_CODE
        assert reply.error.reason in ("internal", "protocol")


def test_a_bundle_that_was_refused_is_answered_by_a_word_and_logged(half_node) -> None:
    half_node.put("query.hello", refused=True)
    assert half_node.reply().error.reason == "code"
    assert "refusal: code" in (half_node.folder / "state/site.log").read_text()


def test_content_that_cannot_be_read_is_answered_and_does_not_block_the_node(half_node) -> None:
    half_node.put("query.hello", unreadable=True)
    assert half_node.reply(20).error.reason == "protocol"


def test_the_site_is_the_one_that_the_executor_was_started_for(half_node, tmp_path) -> None:
    (tmp_path / "bids").mkdir()
    other = tmp_path / "site.yaml"
    other.write_text("name: site-b\ndata: {folder: bids}\nstate_dir: state\n")
    own, half_node.site = half_node.site, other
    try:
        half_node.put("query.hello")
    finally:
        half_node.site = own
    assert Hello.model_validate_json(half_node.text(half_node.reply())).site == "site-a"
    assert not (tmp_path / "state").exists()


def test_no_token_is_in_a_command_line(half_node) -> None:
    with half_node.held("record_message_processing_start") as there:
        half_node.put("query.hello")
        assert there.wait(20)
        tokens = [one.token for one in list(half_node.state.task_token_store.values())]
        lines = command_lines()
        assert half_node.tasks()
    assert tokens
    assert "client.node.executor" in lines
    assert not any(token in lines for token in tokens)
    assert not half_node.reply().has_error()


def test_a_task_costs_no_imports(half_node) -> None:
    half_node.put("query.hello")
    half_node.reply()
    began = time.monotonic()
    half_node.put("query.hello")
    half_node.reply()
    assert time.monotonic() - began < 3  # imports take five seconds and more


def test_a_task_that_is_killed_does_not_end_the_executor(half_node) -> None:
    with half_node.held("record_message_processing_start") as there:
        half_node.put("query.hello")
        assert there.wait(20)
        for task in half_node.tasks():
            os.kill(task, signal.SIGKILL)
    half_node.expire()  # as after a minute
    lost = half_node.reply()
    assert lost.has_error()
    assert "sub-" not in lost.error.reason
    half_node.put("query.hello")
    assert not half_node.reply().has_error()
    assert half_node.executor.poll() is None


def test_of_a_bundle_nothing_is_installed(half_node) -> None:
    half_node.put("query.hello")
    half_node.reply()
    home = half_node.folder / "flwr"
    assert {path.name for path in home.rglob("*")} <= {"source"}  # a random number that Flower keeps


def sleeping(address: str, token: str, parent: int) -> None:
    """Stand for a task that works for long."""
    time.sleep(60)


def test_processes_that_have_ended_are_let_go_of_and_the_others_end_with_the_executor() -> None:
    tasks = ForkedTasks(multiprocessing.get_context("forkserver"), sleeping)
    spec = flower.ExecutionSpec(
        task_type="flwr-clientapp", runtime_api_address="127.0.0.1:1", insecure=True, task_id=1,
        root_certificates_path=None, token="secret", runtime_dependency_install=False,
        parent_pid=None, suppress_output=False)
    for _ in range(2):
        assert tasks.launch(spec) == flower.LaunchResult.accepted()
    first, second = multiprocessing.active_children()
    first.kill()
    wait([first.sentinel], 10)  # to join would let go of it
    kept = weakref.ref(first)
    del first
    tasks.reconcile()
    gc.collect()
    assert kept() is None
    tasks.close()
    second.join(10)
    assert second.exitcode == -signal.SIGTERM
    assert multiprocessing.active_children() == []


def test_what_is_imported_before_the_fork_holds_no_noise_and_asks_for_no_gpu() -> None:
    # Forks would go on with the same noise, and CUDA cannot be used in the fork of who has used it.
    done = subprocess.run([sys.executable, "-c", """
import gc, torch
def asked(*_): raise SystemExit("a GPU was asked for")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = asked
torch._C._cuda_getDeviceCount = asked
import client.node.task
from braing3n.privacy.noise import SecureRandom
assert not torch.cuda.is_initialized()
print(sum(isinstance(one, SecureRandom) for one in gc.get_objects()))
"""], check=False, text=True, capture_output=True, timeout=60)
    assert done.stdout == "0\n", done.stderr
