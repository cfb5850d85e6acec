"""A site's ledger, as its own software writes it, with the coordinator's receipts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from braing3n.files import canonical_json, digest_bytes
from braing3n.plan import StageName
from braing3n.privacy import accountant
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import Ledger, open_ledger
from braing3n.privacy.ledger_entry import Entry, MechanismRecord, SpentRecord, What
from braing3n.privacy.ledger_history import Decided
from braing3n.privacy_messages import Receipt
from braing3n.receipts import receipt_digest, receipt_line, sign_claim, sign_receipt
from braing3n.signing import SigningKey, open_key

BEGUN = datetime(2026, 11, 23, 16, 0, 0, tzinfo=UTC)


@dataclass
class Coordinator:
    """Gives receipts, and keeps them in a folder."""

    folder: Path
    run: str = "run-1"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key: SigningKey = open_key(self.folder / "receipts.key", self.folder / "receipts.pub")
        self.given: list[Receipt] = []

    def show(self, site: str, ledger: Ledger) -> Receipt:
        claim = sign_claim(ledger.sign, ledger.public_key, site, head=ledger.head)
        receipt = sign_receipt(
            self.key, number=len(self.given), run=self.run, site=site, claim=claim,
            previous=receipt_digest(self.given[-1] if self.given else None))
        self.given.append(receipt)
        self.write(self.folder / "receipts.jsonl", self.given)
        return receipt

    @staticmethod
    def write(path: Path, receipts: Sequence[Receipt]) -> Path:
        path.write_bytes(b"".join(receipt_line(one) + b"\n" for one in receipts))
        return path


class Site:
    """Writes a ledger in the way of `client.charging`, without any training."""

    def __init__(self, folder: Path, name: str = "site-a") -> None:
        self.folder, self.name = folder / name, name
        self.now = BEGUN

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def decide(self, epsilon: float = 100.0, delta: float = 1e-5) -> None:
        with open_ledger(self.folder, clock=self.clock) as ledger:
            ledger.decide("patients", Decided(epsilon, delta))

    def work(self, round_index: int, *, coordinator: Coordinator | None = None, settles: bool = True,
             stage: StageName = "pretrain", what: What = "update", run: str = "run-1",
             claimed: float | None = None, steps: int = 10, noise_multiplier: float = 1.5) -> None:
        with open_ledger(self.folder, clock=self.clock) as ledger:
            entry = self.reserve(ledger, round_index, stage, what, run, claimed, steps,
                                 noise_multiplier)
            if settles:
                ledger.settle(entry, steps=entry.mechanism.steps, spent=self.cost(ledger, claimed),
                              released_digest=f"{round_index:064x}")
            if coordinator is not None:
                coordinator.show(self.name, ledger)

    def forge(self, key: SigningKey | None = None, *, at: int | None = None, **fields: Any) -> bytes:
        """Return a line that no ledger would write, signed well; by the site's key or another."""
        own = open_key(self.folder / "ledger.key") if key is None else key
        lines = self.ledger.read_bytes().splitlines()[:at]
        unsigned = {"seq": len(lines), "prev": digest_bytes(lines[-1]) if lines else "0" * 64,
                    "time": "2026-11-23T17:00:00Z", "kind": "note", "code": "spent",
                    "key_id": own.public.key_id, **fields}
        return canonical_json({**unsigned, "signature": own.sign(canonical_json(unsigned))})

    def append(self, *lines: bytes) -> None:
        with self.ledger.open("ab") as stream:
            stream.writelines(line + b"\n" for line in lines)

    def reserve(self, ledger: Ledger, round_index: int, stage: StageName, what: What, run: str,
                claimed: float | None, steps: int, noise_multiplier: float) -> Entry:
        is_update = what == "update"
        mechanism = MechanismRecord(
            name="poisson_gaussian" if is_update else "gaussian", num_subjects=100, clip_norm=1.0,
            sample_rate=0.1 if is_update else 1.0, noise_multiplier=noise_multiplier,
            steps=steps if is_update else 1, views=4 if is_update else None,
            engine="loop" if is_update else None)
        new = Event(mechanism=mechanism.name, sample_rate=mechanism.sample_rate, steps=mechanism.steps,
                    noise_multiplier=mechanism.noise_multiplier, stage=stage, run=run,
                    round_index=round_index)
        return ledger.reserve(
            run=run, stage=stage, round_index=round_index, cohort="patients", what=what,
            mechanism=mechanism, spent=self.cost(ledger, claimed, new), plan_digest="d" * 64)

    @staticmethod
    def cost(ledger: Ledger, claimed: float | None, *new: Event) -> SpentRecord:
        events = [*ledger.events("patients"), *new]
        # Without the third accountant, which takes a second.
        return SpentRecord(pld=accountant.epsilon(events, 1e-5) if claimed is None else claimed,
                           rdp=accountant._rdp(accountant.merged(events), 1e-5), delta=1e-5)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.decide()
    return made


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator(tmp_path / "run")


@pytest.fixture
def worked(site: Site, coordinator: Coordinator) -> Site:
    """Three rounds of pretraining, each shown to the coordinator."""
    for number in range(3):
        site.work(number, coordinator=coordinator)
    return site


@pytest.fixture
def two_sites(tmp_path: Path, coordinator: Coordinator) -> tuple[Site, Site]:
    """Two sites that were in the same run."""
    sites = Site(tmp_path, "site-a"), Site(tmp_path, "site-b")
    for site in sites:
        site.decide()
    for number in range(2):
        for site in sites:
            site.work(number, coordinator=coordinator)
    return sites
