"""A federation with differential privacy at one site and none at the other, from end to end."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from braing3n.plan import load_plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import load_history
from braing3n.privacy_messages import Receipt
from braing3n.protocol import Reply
from braing3n.receipts import check_receipt, receipt_digest
from client.app import app as client_app
from server.app import app as server_app
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files


class Mixed:
    """A finished run, and all that its sites said."""

    def __init__(self, out: Path, cohort: Path, sweep: str) -> None:
        self.out, self.cohort = out, cohort
        self.said: list[tuple[str, str, bytes]] = []  # kind, text, everything
        plan = load_plan(PLANS / "demo-dp.yaml", sweep)
        sites = write_site_files(find_site_folders(cohort), out, plan, without_dp=["site-b"])

        def site(message: Message, context: object) -> Message:
            reply = client_app(message, context)
            text = str(reply.content.config_records["message"]["json"])
            arrays = b"".join(array.data for record in reply.content.array_records.values()
                              for array in record.values())
            self.said.append((message.metadata.message_type, text, text.encode() + arrays))
            return reply

        run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=sweep, apps=(server_app, site))
        self.record = json.loads((out / "run.json").read_text())

    def replies(self, site: str, kind: str) -> list[Reply]:
        return [reply for said, text, _ in self.said if said == kind
                for reply in [Reply.model_validate_json(text)] if reply.site == site]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_dp_plan: str) -> Mixed:
    return Mixed(tmp_path_factory.mktemp("mixed") / "out", phantom_cohort, short_dp_plan)


def test_the_record_promises_each_sites_patients_what_holds_for_them(mixed: Mixed) -> None:
    told = mixed.record["privacy_by_site"]
    assert mixed.record["status"] == "completed"
    history = load_history(mixed.out / "sites" / "site-a")
    spent = epsilon(history.events("patients"), 1e-5)
    assert told["site-a"]["stages"]["diffusion"]["epsilon_total"] == pytest.approx(spent)
    assert "-differential privacy for one patient of this site" in told["site-a"]["statement"]
    assert told["site-b"] == {
        "stages": {}, "statement": "no differential privacy; updates can reveal training data"}
    assert "No differential privacy at site-b" in mixed.record["privacy"]


def test_every_release_of_the_site_is_settled_in_its_ledger(mixed: Mixed) -> None:
    history = load_history(mixed.out / "sites" / "site-a")
    settled = [(entry.stage, entry.what) for entry in history.entries if entry.kind == "settle"]
    assert settled == [("pretrain", "update"), ("decoder", "update"), ("decoder", "moments"),
                       ("diffusion", "update")]
    assert history.open_reserves() == []
    assert not (mixed.out / "sites" / "site-b" / "ledger.jsonl").exists()
    assert (mixed.out / "sites" / "site-a" / "ledger.key").stat().st_mode & 0o777 == 0o600


def test_a_reply_with_dp_says_nothing_exact_of_patients(mixed: Mixed) -> None:
    for kind in ("train.pretrain", "train.decoder", "train.diffusion", "query.moments", "evaluate"):
        for reply in mixed.replies("site-a", kind):
            assert (reply.metrics, reply.num_skipped) == ({}, 0)
            assert (reply.seconds, reply.peak_memory_mb) == (0, 0)
            assert reply.weight == (0 if kind == "evaluate" else 5)  # the plan's number
            assert reply.privacy is not None
            assert reply.head is not None
    (other,) = mixed.replies("site-b", "train.pretrain")
    assert other.weight != 5
    assert other.privacy is None
    assert other.metrics


def test_receipts_are_one_signed_chain_and_sites_keep_each_others(mixed: Mixed) -> None:
    lines = (mixed.out / "receipts.jsonl").read_bytes().splitlines()
    before = None
    for line in lines:
        receipt = Receipt.model_validate_json(line)
        check_receipt(receipt)
        assert receipt.previous == receipt_digest(before)
        before = receipt
    history = load_history(mixed.out / "sites" / "site-a")
    assert (before.seq, before.digest) == (history.head.seq, history.head.digest)
    kept = (mixed.out / "sites" / "site-a" / "receipts.jsonl").read_bytes().splitlines()
    assert kept
    assert set(kept) <= set(lines)
    assert (mixed.out / "receipts.key").stat().st_mode & 0o777 == 0o600


def test_no_subject_and_no_path_leaves_a_site(mixed: Mixed) -> None:
    subjects = [path.name for path in mixed.cohort.glob("site-*/sub-*")]
    assert len(subjects) == 10
    # Digests may hold a label's letters by chance, so that only a label by itself is one.
    labels = re.compile("|".join(rf"(?<![0-9a-f]){name.removeprefix('sub-')}(?![0-9a-f])"
                                 for name in subjects))
    for _, text, content in mixed.said:
        assert not labels.search(text)
        for secret in (*subjects, str(mixed.out), str(mixed.cohort), "participants"):
            assert secret.encode() not in content


def test_latent_moments_with_dp_cost_and_are_the_same_at_every_place(mixed: Mixed) -> None:
    (content,) = [content for kind, text, content in mixed.said
                  if kind == "query.moments" and Reply.model_validate_json(text).site == "site-a"]
    numbers = np.frombuffer(content[-4 * 2 * 64 * 150:], np.float32).reshape(2, 64, 150)
    assert (numbers == numbers[:, :, :1]).all()
    assert (numbers[1] > numbers[0] ** 2).all()
    (before,), (after,) = (mixed.replies("site-a", kind) for kind in ("train.decoder", "query.moments"))
    assert after.privacy.epsilon_stage > before.privacy.epsilon_stage
