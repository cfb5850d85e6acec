import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import OutputError
from braing3n.files import (
    append_text,
    canonical_json,
    check_free,
    cut_unfinished,
    digest_bytes,
    digest_file,
    last_line,
    locked,
    replacing,
    whole_lines,
    write_text,
)


def test_a_crash_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def crash() -> None:
        with replacing(path) as part:
            part.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text() == "old"


def test_a_device_or_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="other than a file"):
        write_text(path, "new")
    assert path.is_fifo()


@given(st.lists(st.binary(max_size=9).map(lambda line: line.translate(None, b"\r\n")), max_size=6),
       st.binary(max_size=9).map(lambda line: line.translate(None, b"\r\n")))
def test_a_line_that_was_not_finished_was_never_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], torn: bytes,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole + torn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("braing3n.files._BLOCK", 4)  # lines lie across blocks
        assert whole_lines(path) == lines
        assert last_line(path) == (lines[-1] if lines else None)
        assert path.read_bytes() == whole + torn
        cut_unfinished(path)
    assert path.read_bytes() == whole
    append_text(path, "next\n")
    assert whole_lines(path) == [*lines, b"next"]


def test_a_file_of_lines_that_is_not_there_has_none(tmp_path: Path) -> None:
    cut_unfinished(tmp_path / "none")
    assert (whole_lines(tmp_path / "none"), last_line(tmp_path / "none")) == ([], None)
    assert not list(tmp_path.iterdir())


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1})
    assert canonical_json({"a": [1.5, None]}) == b'{"a":[1.5,null]}'


def test_canonical_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_file(tmp_path / "x") == digest_bytes(b"abc") == expected


def test_only_a_new_or_empty_folder_is_free_to_write_to(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name, found in (("link", "a link"), ("file", "a file"), (".", "files in it")):
        with pytest.raises(OutputError) as error:
            check_free(tmp_path / name)
        assert error.value.found == found


def test_a_lock_that_is_held_is_refused_or_waited_for(tmp_path: Path) -> None:
    path, order = tmp_path / "a" / "x.lock", list[str]()

    def wait() -> None:
        with locked(path, waits=True):
            order.append("second")

    waiting = threading.Thread(target=wait)
    with locked(path):
        with pytest.raises(BlockingIOError), locked(path):
            pass
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
