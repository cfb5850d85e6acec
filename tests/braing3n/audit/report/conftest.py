"""A finished run of four sites, with ledgers as sites write them.

Two trained with differential privacy, one without, and one refused.
"""

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from braing3n.audit.report.command import write_audit_report
from braing3n.files import digest_file
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.weights import digest_state, save_weights

SITES = ["site-a", "site-b", "site-c", "site-d"]
RUN = "run-1"
_MADE: dict[str, Any] = {}


def exchange(answered: list[str], refused: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"asked": SITES, "answered": answered, "refused": refused, "seconds": 1.0,
            "bytes_down": 4_000_000, "bytes_up": 3_000_000, "bytes_frozen": 0, **more}


def stage(
    name: str, rounds: int, others: list[dict[str, Any]], deliveries: list[str]
) -> dict[str, Any]:
    gave, refused = ["site-a", "site-b", "site-c"], {"site-d": "budget"}
    return {
        "name": name, "rounds": rounds, "start": {"source": "phantom", "digest": "5" * 64},
        "sites_asked": 4, "sites_answered": 3, "seconds": 5.0, "bytes_down": 8_000_000,
        "bytes_up": 6_000_000, "bytes_frozen": 1_000_000, "peak_memory_mb": 700.0,
        "site_peak_memory_mb": 700.0, "metrics": {}, "scans_left_out": {},
        "participation": [exchange(gave, refused, round=number + 1) for number in range(rounds)],
        "other_exchanges": others,
        "deliveries": [{"part": part, "asked": SITES, "refused": {}, "seconds": 0.1,
                        "bytes_frozen": 1_000_000} for part in deliveries]}


def report_of(steps: int, epsilon: float) -> dict[str, Any]:
    return {"epsilon_stage": epsilon, "epsilon_run": epsilon, "epsilon_total": epsilon,
            "rdp_total": 1.2 * epsilon, "delta": 1e-5, "void": None, "noise_multiplier": 1.5,
            "sample_rate": 0.1, "steps": steps, "clip_norm": 1.0, "views": 4, "num_subjects": 100,
            "engine": "loop", "signal_to_noise": 0.1}


def record_of(folder: Path) -> dict[str, Any]:
    """run.json as the coordinator writes it."""
    weights = {"layer": torch.arange(6.0).reshape(2, 3)}
    path = folder / "model" / "encoder.safetensors"
    save_weights(path, weights)
    measured = exchange(SITES, {}, what="evaluation")
    statistics = exchange(["site-a", "site-b", "site-c"], {"site-d": "budget"}, what="statistics")
    accounts = {site: {"statement": "by its own word",
                       "stages": {"pretrain": report_of(20, 2.0), "decoder": report_of(10, 2.0)}}
                for site in ("site-a", "site-b")}
    return {
        "schema": 1, "id": RUN, "name": "made", "status": "completed with 3 of 4 sites",
        "plan_digest": "d" * 64, "encoder_digest": digest_state(weights),
        "started": "2026-11-23T16:00:00+00:00", "ended": "2026-11-23T17:00:00+00:00",
        "privacy": "told by site", "privacy_by_site": {
            **accounts, "site-c": {"statement": "no differential privacy; updates can reveal training "
                                   "data", "stages": {}},
            "site-d": {"statement": "refused", "stages": {"pretrain": report_of(0, 0.0)},
                       "refused": {"budget": ["pretrain", "decoder"]}}},
        "versions": {"braing3n": "0.1.0", "torch": "2.13.0"}, "code_digest": "c" * 64, "sites": SITES,
        "stage_names": ["pretrain", "decoder"], "strangers": {},
        "stages": [stage("pretrain", 2, [measured], ["encoder"]),
                   stage("decoder", 1, [measured, statistics], [])],
        "models": {"encoder": {"file": "model/encoder.safetensors", "digest": digest_state(weights),
                               "sha256": digest_file(path)}}, "probes": {}, "resumed": []}


def metric_lines() -> list[dict[str, Any]]:
    return [{"stage": "pretrain", "site": site, "round": number, "phase": "train",
             "metrics": {"loss": 1.0}, "losses": [1.0]} for number in (1, 2) for site in SITES[:3]] + [
            {"stage": "pretrain", "site": "site-c", "round": 3, "phase": "evaluate",
             "metrics": {"loss": 0.9}}]


def make(folder: Path, site: Any, coordinator: Any) -> None:
    """Write the run, with ledgers and receipts, into a folder."""
    told = type(coordinator)(folder)
    (folder / "run.json").write_text(json.dumps(record_of(folder)))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in metric_lines()))
    record = json.loads((folder / "run.json").read_text())
    for name, noise in (("site-a", 1.5), ("site-b", 1.5)):
        one = type(site)(folder / "sites", name)
        one.decide(8.0)
        for number in range(2):
            one.work(number, coordinator=told, noise_multiplier=noise)
        one.work(0, stage="decoder", coordinator=told, noise_multiplier=noise)
        one.work(1, stage="decoder", what="moments", coordinator=told, noise_multiplier=4.0)
        spent = {entry.stage: entry.spent.pld for entry in load_history(one.folder).entries
                 if entry.spent is not None}
        for stage_name, total in spent.items():
            record["privacy_by_site"][name]["stages"][stage_name]["epsilon_total"] = total
    (folder / "run.json").write_text(json.dumps(record))
    refusing = type(site)(folder / "sites", "site-d")
    refusing.decide(0.1)
    with open_ledger(refusing.folder, clock=refusing.clock) as ledger:
        for name, rounds in (("pretrain", 2), ("decoder", 1)):
            for number in range(rounds):
                ledger.refuse("budget", run=RUN, stage=name, round_index=number, cohort="patients")
        told.show("site-d", ledger)


@pytest.fixture
def template(site: Any, coordinator: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder, for reading only: it is made once."""
    if "run" not in _MADE:
        folder = tmp_path_factory.mktemp("made") / "run"
        make(folder, site, coordinator)
        _MADE["run"] = folder
    return Path(_MADE["run"])


@pytest.fixture
def federation(template: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(template, tmp_path / "federation"))


class Page(HTMLParser):
    """A page's paragraphs, ids, links, and what of its text is in no link."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.paragraphs: list[str] = []
        self.outside: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if told.get("id"):
            self.ids.append(str(told["id"]))
        if tag == "a":
            self.targets.add(str(told["href"]).removeprefix("#"))
        if tag == "p":
            self.paragraphs.append("")
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        if "p" in self._open:
            self.paragraphs[-1] += data
        if "a" not in self._open:
            self.outside.append(data)

    @property
    def text(self) -> list[str]:
        """Paragraphs, each in one line; the first is about the document itself."""
        return [" ".join(one.split()) for one in self.paragraphs][1:]


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., tuple[Page, str]]:
    """Writes a report as HTML; gives the page, and its text as it is."""
    def write(*paths: Path, **options: Any) -> tuple[Page, str]:
        write_audit_report(paths, tmp_path / "report.html", **options)
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        return Page(html), html

    return write


@pytest.fixture
def answer_of(tmp_path: Path) -> Callable[..., Any]:
    """Writes a report for programs, and reads it."""
    def write(*paths: Path, **options: Any) -> Any:
        write_audit_report(paths, tmp_path / "report.json", **options)
        return json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    return write


@pytest.fixture
def read(template: Path, page_of: Callable[..., tuple[Page, str]]) -> tuple[Page, str]:
    """The page on the run as it is; made once."""
    if "page" not in _MADE:
        _MADE["page"] = page_of(template)
    found: tuple[Page, str] = _MADE["page"]
    return found


@pytest.fixture
def answer(template: Path, answer_of: Callable[..., Any]) -> Any:
    """What programs are told of the run as it is; made once."""
    if "answer" not in _MADE:
        _MADE["answer"] = answer_of(template)
    return _MADE["answer"]


@pytest.fixture
def promise() -> Callable[..., Any]:
    """Finds what a site is promised in an answer."""
    def find(answer: Any, site: str) -> Any:
        return next(one for one in answer["promises"] if one["site"] == site)

    return find


@pytest.fixture
def rewritten() -> Callable[..., Any]:
    """Changes a run.json."""
    def rewrite(run: Path, change: Any) -> None:
        record = json.loads((run / "run.json").read_text())
        change(record)
        (run / "run.json").write_text(json.dumps(record))

    return rewrite


@pytest.fixture
def note_without_dp() -> Callable[..., Any]:
    """Has a site write down that it trains without differential privacy."""
    def note(folder: Path, site: str, **fields: Any) -> None:
        with open_ledger(folder / "sites" / site) as ledger:
            ledger.note("without_dp", cohort="patients", **fields)

    return note


@pytest.fixture
def attacked() -> Callable[..., Any]:
    """Writes what an empirical audit came to: its one bound, against a claim of 3."""
    def write(path: Path, judged: float) -> Path:
        from braing3n.audit.empirical.result import Claim, Diagnostic, EmpiricalAudit, LowerBound

        audit = EmpiricalAudit(
            stage="pretrain", engine="loop", preset="nano",
            claim=Claim(epsilon=3.0, delta=1e-5, noise_multiplier=1.2, sample_rate=0.2, steps=60,
                        rounds=2),
            bounds={"gaussian": LowerBound(epsilon=judged + 0.25, judged=judged, assumes="a Gaussian")},
            diagnostics={"noise": Diagnostic(1.0, 1.0, 0.5, True, "noise over claimed")},
            canaries=(200, 101), confidence=0.95, seed=0, seconds=3.0)
        path.write_text(json.dumps(audit.as_json()))
        return path

    return write
