"""A site whose ledger is gone does not begin another: what is left behind shows that there was one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braing3n.errors import LedgerError
from client.own_ledger import own_history, own_ledger
from client.past import look_back
from server.receipts import ReceiptBook

Make = Callable[..., Any]


def lose(site: Any, *more: str) -> None:
    for path in site.state.glob("ledger*"):
        path.unlink()
    for name in more:
        shutil.rmtree(site.state / name)


def test_kept_answers_without_a_ledger_stop_the_site_before_it_computes_and_begins_none(
    clinic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = clinic()
    site.train()
    lose(site)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr("client.work.open_task", never)
    for _ in range(2):
        with pytest.raises(LedgerError, match="is gone") as stopped:
            site.train(round_index=1)
        assert str(site.state / "outbox") in stopped.value.found
    with pytest.raises(LedgerError, match="is gone"):
        look_back(site.site.config)
    assert not (site.state / "ledger.jsonl").exists()
    assert not (site.state / "ledger.key").exists()


def test_own_receipts_without_a_ledger_do_so_too(clinic: Make, tmp_path: Path) -> None:
    site, folder = clinic(), tmp_path / "run"
    folder.mkdir()
    book = ReceiptBook(folder, "r1")
    reply, _ = site.train()
    book.give("site-a", reply.head)
    site.train(round_index=1, receipts=book.latest)
    lose(site, "outbox")
    for read in (lambda: own_ledger(site.site).__enter__(), lambda: own_history(site.site)):
        with pytest.raises(LedgerError, match="is gone") as stopped:
            read()
        assert "receipts.jsonl" in stopped.value.found
    assert not (site.state / "ledger.jsonl").exists()


def test_an_outbox_without_an_answer_shows_nothing(clinic: Make) -> None:
    site = clinic()
    (site.state / "outbox").mkdir()
    assert own_history(site.site) is None
    site.train()
    assert len(site.events()) == 1


def test_a_site_that_goes_on_finds_its_own_ledger(clinic: Make) -> None:
    site = clinic()
    site.train()
    site.train(round_index=1)
    with own_ledger(site.site) as ledger:
        assert own_history(site.site).head == ledger.head
