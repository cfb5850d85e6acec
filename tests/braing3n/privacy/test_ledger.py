import errno
import os
import resource
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from braing3n.errors import ConfigError, LedgerError
from braing3n.files import digest_bytes
from braing3n.privacy.ledger import Ledger, load_history, load_own_history, open_ledger
from braing3n.privacy.ledger_entry import Entry, Head, MechanismRecord, SpentRecord
from braing3n.signing import load_public_key, open_key

STEPS = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=10,
                        clip_norm=1.0, views=4, engine="loop", num_subjects=100)
SPENT = SpentRecord(pld=1.25, rdp=1.5, delta=1e-5)
NOW = datetime(2026, 11, 23, 16, 54, 21, tzinfo=UTC)


def reserve(ledger: Ledger, round_index: int = 0) -> Entry:
    return ledger.reserve(run="run-1", stage="pretrain", round_index=round_index, cohort="patients",
                          what="update", mechanism=STEPS, spent=SPENT, plan_digest="d" * 64,
                          weights_digest="a" * 64)


def settle(ledger: Ledger, reservation: Entry, steps: int = 8) -> Entry:
    return ledger.settle(reservation, steps=steps, spent=SPENT, released_digest="e" * 64)


def work(ledger: Ledger) -> Iterator[Entry]:
    """Write one entry of each kind."""
    yield (reservation := reserve(ledger))
    yield settle(ledger, reservation)
    yield ledger.refuse("budget", run="run-1", stage="pretrain", round_index=1, cohort="patients",
                        detail="expected 8 found 9.25")
    yield ledger.note("without_dp", run="run-1", stage="decoder", round_index=0, cohort="patients")


def kinds(folder: Path) -> list[str]:
    return [entry.kind if entry.kind != "note" else str(entry.code)
            for entry in load_history(folder).entries]


def test_what_is_written_is_there_when_the_ledger_is_opened_again(tmp_path: Path) -> None:
    folder = tmp_path / "sites" / "one"
    with open_ledger(folder, clock=lambda: NOW) as ledger:
        written = list(work(ledger))
        head, key = ledger.head, ledger.public_key
    assert sorted(path.name for path in folder.iterdir()) == [
        "ledger.jsonl", "ledger.key", "ledger.lock", "ledger.pub"]
    assert kinds(folder) == ["begun", "reserve", "settle", "refuse", "without_dp"]
    with open_ledger(folder) as ledger:
        assert ledger.entries[1:] == written
        assert ledger.head == head == Head(seq=4, digest=digest_bytes(written[-1].line()))
        assert ledger.public_key == key == load_public_key(folder / "ledger.pub")
        assert [event.steps for event in ledger.events("patients")] == [8]
        assert ledger.entries[1].time == "2026-11-23T16:54:21Z"
        assert key.verify(b"a head", ledger.sign(b"a head"))
    assert load_history(folder).head == head
    content = (folder / "ledger.jsonl").read_bytes()
    assert content == b"".join(entry.line() + b"\n" for entry in load_history(folder).entries)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes["one"] == 0o700
    assert modes["ledger.key"] == modes["ledger.jsonl"] == 0o600


def test_the_ledger_writes_no_entry_that_it_would_not_read(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        reservation = reserve(ledger)
        for steps, why in ((11, "more steps"), (0, "greater than or equal to 1")):
            with pytest.raises(LedgerError, match="cannot be written") as error:
                settle(ledger, reservation, steps)
            assert why in error.value.found
        settle(ledger, reservation)
        with pytest.raises(LedgerError, match="cannot be written") as error:
            settle(ledger, reservation)
        assert "a second time" in error.value.found
        with pytest.raises(LedgerError, match="cannot be written"):
            ledger.note("other", detail="/data/patient 1")
        with pytest.raises(LedgerError, match="cannot be written"):
            settle(ledger, ledger.note("other"))
    assert kinds(tmp_path) == ["begun", "reserve", "settle", "other"]


def test_a_ledger_that_was_left_takes_no_more(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        pass
    with pytest.raises(LedgerError, match="closed"):
        ledger.note("other")


def write_all(folder: Path) -> list[Entry]:
    with open_ledger(folder) as ledger:
        return list(work(ledger))


@pytest.mark.parametrize("lost", [["ledger.jsonl"], ["ledger.jsonl", "ledger.pub"], ["ledger.key"],
                                  ["ledger.key", "ledger.pub"], ["ledger.jsonl", "ledger.key"]])
def test_a_ledger_of_which_something_is_gone_is_not_begun_anew(tmp_path: Path, lost: list[str]) -> None:
    write_all(tmp_path)
    for name in lost:
        (tmp_path / name).unlink()
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        with pytest.raises(LedgerError, match="gone"), open_ledger(tmp_path):
            pass
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


def test_a_ledger_that_is_empty_is_not_begun_anew(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "ledger.jsonl").write_bytes(b"")
    with pytest.raises(LedgerError, match="is empty"), open_ledger(tmp_path):
        pass


def test_a_new_folder_is_refused_where_something_shows_that_there_was_a_ledger(tmp_path: Path) -> None:
    trace = tmp_path / "outbox"
    for begin in (lambda: open_ledger(tmp_path / "one", trace=trace).__enter__(),
                  lambda: load_own_history(tmp_path / "one", trace=trace)):
        with pytest.raises(LedgerError, match="gone") as error:
            begin()
        assert str(trace) in error.value.found
        assert f"remove {trace}" in error.value.fix
    assert not (tmp_path / "one" / "ledger.jsonl").exists()
    write_all(tmp_path / "one")
    with open_ledger(tmp_path / "one", trace=trace) as ledger:
        assert load_own_history(tmp_path / "one", trace=trace).head == ledger.head


@pytest.mark.parametrize("lost", ["ledger.jsonl", "ledger.key"])
def test_whoever_only_reads_a_sites_own_ledger_finds_what_is_gone(tmp_path: Path, lost: str) -> None:
    assert load_own_history(tmp_path) is None
    write_all(tmp_path)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != lost}
    (tmp_path / lost).unlink()
    with pytest.raises(LedgerError, match="gone"):
        load_own_history(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content


def test_whoever_only_reads_a_sites_own_ledger_finds_a_key_that_is_not_its_own(tmp_path: Path) -> None:
    write_all(tmp_path / "one")
    write_all(tmp_path / "two")
    (tmp_path / "one" / "ledger.key").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="holds no key"):
        load_own_history(tmp_path / "one")
    shutil.copy(tmp_path / "two" / "ledger.key", tmp_path / "one" / "ledger.key")
    with pytest.raises(ConfigError, match="not of the secret key"):
        load_own_history(tmp_path / "one")
    (tmp_path / "one" / "ledger.pub").unlink()
    with pytest.raises(LedgerError, match="damaged in line 1"):
        load_own_history(tmp_path / "one")
    assert not (tmp_path / "one" / "ledger.pub").exists()


def test_a_sites_own_ledger_is_read_without_its_public_key(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "ledger.pub").unlink()
    assert len(load_own_history(tmp_path).entries) == 5
    assert not (tmp_path / "ledger.pub").exists()


def test_a_public_key_that_is_gone_is_written_again(tmp_path: Path) -> None:
    write_all(tmp_path)
    public = (tmp_path / "ledger.pub").read_text()
    (tmp_path / "ledger.pub").unlink()
    with open_ledger(tmp_path):
        pass
    assert (tmp_path / "ledger.pub").read_text() == public


def test_a_ledger_of_another_key_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path / "one")
    write_all(tmp_path / "two")
    shutil.copy(tmp_path / "two" / "ledger.key", tmp_path / "one" / "ledger.key")
    with pytest.raises(ConfigError, match="not of the secret key"), open_ledger(tmp_path / "one"):
        pass
    shutil.copy(tmp_path / "two" / "ledger.pub", tmp_path / "one" / "ledger.pub")
    for read in (lambda: load_history(tmp_path / "one"), lambda: open_ledger(
            tmp_path / "one").__enter__()):
        with pytest.raises(LedgerError, match="damaged in line 1") as error:
            read()
        assert error.value.found == "another key signed it (and 9 more findings)"


def test_a_key_that_others_may_read_signs_nothing(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "ledger.key").chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"), open_ledger(tmp_path):
        pass


def test_a_damaged_line_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = tmp_path / "ledger.jsonl"
    damaged = path.read_bytes().replace(b'"steps":8', b'"steps":7')
    path.write_bytes(damaged + b"torn")
    with pytest.raises(LedgerError, match="damaged in line 3") as error, open_ledger(tmp_path):
        pass
    assert error.value.found.startswith("its signature is not that of its content")
    with pytest.raises(LedgerError, match="damaged in line 3"):
        load_history(tmp_path)
    assert path.read_bytes() == damaged + b"torn"


def test_a_last_line_cut_anywhere_is_dropped_and_noted(tmp_path: Path) -> None:
    """A power cut leaves any part of a line that was not acknowledged, and all before it."""
    write_all(tmp_path)
    path = tmp_path / "ledger.jsonl"
    content = path.read_bytes()
    *before, last = content.splitlines(keepends=True)
    for kept in range(len(last)):
        path.write_bytes(b"".join(before) + last[:kept])
        assert kinds(tmp_path) == ["begun", "reserve", "settle", "refuse"]  # readers wait
        with open_ledger(tmp_path) as ledger:
            assert [entry.line() + b"\n" for entry in ledger.entries[:4]] == before
            notes = [(entry.code, entry.detail) for entry in ledger.entries[4:]]
            assert notes == ([("torn", f"dropped_bytes {kept}")] if kept else [])
            ledger.note("other")
        assert kinds(tmp_path)[-1] == "other"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_times_do_not_run_backwards(tmp_path: Path) -> None:
    with open_ledger(tmp_path, clock=lambda: NOW) as ledger:
        ledger.note("first")
    with open_ledger(tmp_path, clock=lambda: NOW - timedelta(seconds=119)) as ledger:
        assert ledger.note("second").time == "2026-11-23T16:54:21Z"
    with open_ledger(tmp_path, clock=lambda: NOW - timedelta(seconds=121)) as ledger:
        with pytest.raises(LedgerError, match="clock is behind") as error:
            ledger.note("third")
        assert error.value.found == "2026-11-23T16:52:20Z"
    with open_ledger(tmp_path, clock=lambda: NOW + timedelta(hours=1)) as ledger:
        assert ledger.note("third").time == "2026-11-23T17:54:21Z"


def test_a_file_that_somebody_else_wrote_to_meanwhile_is_left(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        with (tmp_path / "ledger.jsonl").open("ab") as stream:
            stream.write(b"x")
        with pytest.raises(LedgerError, match="changed while it was open"):
            ledger.note("other")
        (tmp_path / "ledger.jsonl").unlink()
        with pytest.raises(LedgerError, match="closed"):
            ledger.note("other")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be written"), open_ledger(tmp_path / "file" / "one"):
        pass
    with pytest.raises(LedgerError, match="cannot be read"):
        load_history(tmp_path)


# Disks that fail.

def fail_halfway(descriptor: int, content: bytes) -> int:
    return REAL_WRITE(descriptor, content[:len(content) // 2])


def fail_at_once(*arguments: object) -> int:
    raise OSError(errno.EIO, "Input/output error")


REAL_WRITE, REAL_FSYNC = os.write, os.fsync


@pytest.mark.parametrize("is_cut_back", [True, False])
@pytest.mark.parametrize(("call", "fault"), [
    ("write", fail_halfway), ("write", fail_at_once), ("fsync", fail_at_once)])
def test_a_disk_that_fails_leaves_a_ledger_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, fault: Callable[..., int],
    is_cut_back: bool,
) -> None:
    write_all(tmp_path)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with open_ledger(tmp_path) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fault)
            if not is_cut_back:
                patch.setattr(os, "ftruncate", fail_at_once)
            with pytest.raises(LedgerError, match="cannot be written"):
                reserve(ledger, 7)
        assert not [entry for entry in ledger.entries if entry.round_index == 7]
        with pytest.raises(LedgerError, match="closed"):
            reserve(ledger, 7)
    after = (tmp_path / "ledger.jsonl").read_bytes()
    assert after.startswith(before)
    assert after == before or not is_cut_back
    with open_ledger(tmp_path) as ledger:
        # A line that got there although nobody was told so counts: too much, never too little.
        rest = [entry.code or entry.kind for entry in ledger.entries[5:]]
        assert rest == ([] if after == before else ["torn"] if call == "write" else ["reserve"])
        assert len(ledger.events("patients")) == (2 if rest == ["reserve"] else 1)
        reserve(ledger, 7)


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a fork, and return what `os.waitpid` says of its end."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("room", [0, 1, 400])
def test_a_full_disk_is_told_and_leaves_a_ledger_that_opens(tmp_path: Path, room: int) -> None:
    """With a real limit of the system on a file's size: it writes what fits, then refuses."""
    write_all(tmp_path)
    before = (tmp_path / "ledger.jsonl").read_bytes()

    def act() -> None:
        with open_ledger(tmp_path) as ledger:
            limit = len(before) + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with pytest.raises(LedgerError, match="cannot be written"):
                reserve(ledger, 7)

    assert in_child(act) == 0
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert len(write_all(tmp_path)) == 4


# Processes that are killed.

class Killer:
    """Kills its process at the n-th instant: before, within or after a call that changes the disk."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0
        real_open, real_replace = os.open, os.replace
        os.write = self.write  # type: ignore[assignment]
        os.fsync = self.around(REAL_FSYNC)
        os.open = self.around(real_open)
        os.replace = self.around(real_replace)

    def instant(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable) -> Callable:
        def called(*arguments, **more):
            self.instant()
            result = call(*arguments, **more)
            self.instant()
            return result

        return called

    def write(self, descriptor: int, content: bytes) -> int:
        self.instant()
        half = REAL_WRITE(descriptor, content[:len(content) // 2])
        self.instant()
        half += REAL_WRITE(descriptor, content[half:])
        self.instant()
        return half


def kill_at(instant: int, folder: Path) -> tuple[bool, list[Head]]:
    """Do one of each in a process that is killed; return whether it was, and what it was told."""
    reading, writing = os.pipe()

    def act() -> None:
        Killer(instant)
        with open_ledger(folder) as ledger:
            for entry in work(ledger):
                REAL_WRITE(writing, f"{entry.seq} {entry.head.digest}\n".encode())

    end = in_child(act)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = [Head(seq=int(seq), digest=digest) for seq, digest in map(str.split, stream)]
    assert end in (0, signal.SIGKILL)
    return end != 0, told


def check_after_a_kill(folder: Path, told: list[Head]) -> None:
    for path in folder.glob("*key*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_ledger(folder) as ledger:
        assert [ledger.head_at(head.seq) for head in told] == told
        assert len(ledger.entries) >= len(told)
        mine = [entry for entry in ledger.entries if entry.code not in ("begun", "torn")]
        assert [entry.kind for entry in mine] == ["reserve", "settle", "refuse", "note"][:len(mine)]
        assert len(told) <= len(mine) <= len(told) + 1
        assert [event.steps for event in ledger.events("patients")] == (
            [] if not mine else [10] if len(mine) == 1 else [8])
        assert len(ledger.open_reserves()) == (len(mine) == 1)
        ledger.note("other")
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_kill_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    instant, torn, told_of = 0, 0, set()
    is_killed = True
    while is_killed:
        instant += 1
        folder = tmp_path / str(instant)
        is_killed, told = kill_at(instant, folder)
        told_of.add(len(told))
        if folder.exists():
            check_after_a_kill(folder, told)
            torn += "torn" in kinds(folder)
    assert told_of == {0, 1, 2, 3, 4}
    assert torn == 5  # within the first line, and within one of each kind
    assert instant > 60


def test_a_kill_while_a_torn_line_is_cut_off_leaves_it_or_its_note(tmp_path: Path) -> None:
    write_all(tmp_path / "whole")
    with (tmp_path / "whole" / "ledger.jsonl").open("ab") as stream:
        stream.write(b'{"cohort":')
    instant, is_killed = 0, True
    while is_killed:
        instant += 1
        folder = tmp_path / str(instant)
        shutil.copytree(tmp_path / "whole", folder)

        def act(folder: Path = folder, instant: int = instant) -> None:
            Killer(instant)
            with open_ledger(folder):
                pass

        is_killed = in_child(act) != 0
        with open_ledger(folder) as ledger:
            assert [entry.detail for entry in ledger.entries[5:]] == ["dropped_bytes 10"]
        assert not list(folder.glob(".*"))
    assert instant > 5


def test_two_processes_write_one_after_the_other(tmp_path: Path) -> None:
    def write(code: str) -> Callable[[], None]:
        def act() -> None:
            for _ in range(15):
                with open_ledger(tmp_path) as ledger:
                    ledger.note(code)
                    ledger.note(code)

        return act

    other = os.fork()
    if other == 0:
        with suppress(BaseException):
            write("second")()
            os._exit(0)
        os._exit(1)
    write("first")()
    assert os.waitpid(other, 0)[1] == 0
    codes = kinds(tmp_path)
    assert sorted(codes) == ["begun"] + ["first"] * 30 + ["second"] * 30
    assert all(one == two for one, two in zip(codes[1::2], codes[2::2], strict=True))  # no lock shared


def test_a_second_writer_waits_and_then_says_that_the_ledger_is_in_use(tmp_path: Path) -> None:
    with open_ledger(tmp_path):
        began = time.monotonic()
        with pytest.raises(LedgerError, match="in use"), open_ledger(tmp_path, wait_s=0.2):
            pass
        assert 0.2 <= time.monotonic() - began < 5
    with open_ledger(tmp_path, wait_s=0):
        pass


def test_a_key_from_elsewhere_begins_no_ledger(tmp_path: Path) -> None:
    """A key without a ledger means that the ledger was lost."""
    open_key(tmp_path / "ledger.key")
    with pytest.raises(LedgerError, match="gone"), open_ledger(tmp_path):
        pass


def test_reading_takes_little_more_than_verifying_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # what is measured is reading
        with open_ledger(tmp_path) as ledger:
            for round_index in range(1000):
                settle(ledger, reserve(ledger, round_index))
    # In units of what Ed25519 alone takes on this machine, which others use as well.
    key, line = ledger.public_key, ledger.entries[-1]
    ratios = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(len(ledger.entries)):
            key.verify(line.signed_bytes(), line.signature)
        signatures = time.perf_counter() - began
        began = time.perf_counter()
        assert len(load_history(tmp_path).entries) == 2001
        ratios.append((time.perf_counter() - began) / signatures)
    assert min(ratios) < 2.5
