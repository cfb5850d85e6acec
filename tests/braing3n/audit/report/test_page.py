"""The page on a mixed federation: two sites with DP, one without, one that refused."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from braing3n.audit.account import accounts_of
from braing3n.audit.output import up
from braing3n.audit.report.words import times

UNIT = ("-differential privacy for one patient of this site, over all that this site has released for "
        "this cohort")
WITHOUT = "no differential privacy; updates can reveal training data"


def test_the_first_paragraph_says_what_a_patient_of_each_site_is_promised(
    template: Path, read: Any
) -> None:
    first = read[0].text[0]
    for site in ("site-a", "site-b"):
        (spent,) = accounts_of(template / "sites" / site / "ledger.jsonl", None)
        told = re.search(rf"{site}: (.*?)\(The number is recomputed", first)
        assert told is not None
        assert told[1].startswith(f"({up(spent.bounds.pld)}, 1e-05){UNIT}.")
        assert f"at most {times(spent.bounds.pld)} times as often" in told[1]
        assert "a chance of 1 in 100,000" in told[1]
        assert f"the site claims {up(spent.claimed.pld)} for its cohort patients" in first
    assert f"site-c: {WITHOUT}." in first
    assert ("site-d: refused: nothing of it is in the model (more than its privacy budget allows, in "
            "pretrain and decoder).") in first
    assert "patients of 3 of 4 sites" in first


def test_no_word_promises_more_than_is_true(read: Any) -> None:
    page, _ = read
    told = " ".join([*page.outside, *page.paragraphs])
    assert "anonym" not in told.lower()
    assert not re.findall(r"(?<!differentially )\bprivate\b(?! data analysis)", told)


def test_every_epsilon_is_a_link_to_something_that_is_there(template: Path, read: Any) -> None:
    page, _ = read
    assert len(set(page.ids)) == len(page.ids)
    assert page.targets <= set(page.ids)
    epsilons = set()
    for site in ("site-a", "site-b"):
        for spent in accounts_of(template / "sites" / site / "ledger.jsonl", None):
            each = [spent.bounds, *(share.bounds for parts in spent.shares.values() for share in parts)]
            epsilons |= {up(value) for found in each for value in found} | {up(spent.claimed.pld)}
    assert len(epsilons) >= 10
    unlinked = " ".join(page.outside)
    assert [epsilon for epsilon in epsilons if epsilon in unlinked] == []
    assert re.findall(r"(?<![\d./])\d+\.\d{4}\b", unlinked) == []  # nor any other number told so


def test_a_page_needs_nothing_else_and_can_be_read_by_all(read: Any) -> None:
    page, html = read
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert "link" not in tags
    assert [told["src"] for tag, told in page.tags if tag == "img" and not str(
        told["src"]).startswith("data:")] == []
    assert "url(" not in html
    assert all(told.get("alt") for tag, told in page.tags if tag == "img")
    assert tags.count("table") == tags.count("caption")
    assert all(told.get("scope") for tag, told in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_same_files_give_the_same_document(template: Path, read: Any, page_of: Any) -> None:
    assert page_of(template)[1] == read[1]


def test_names_from_strangers_are_text_and_nothing_else(
    federation: Path, page_of: Any, rewritten: Any
) -> None:
    rewritten(federation, lambda record: record.update(
        name="<script>alert(1)</script>", strangers={"<img src=x>": "other software"}))
    _, html = page_of(federation)
    assert "<script" not in html
    assert "<img src=x>" not in html
    assert "&lt;script&gt;" in html


def test_a_ledger_that_does_not_hold_comes_before_any_number(
    federation: Path, answer_of: Any, page_of: Any, promise: Any
) -> None:
    path = federation / "sites" / "site-b" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    page, html = page_of(federation)
    first, second = page.text[:2]
    assert first.startswith("Not all that is claimed is supported")
    assert "site-b" in first
    assert "site-a" not in first
    assert re.search(r"\d\.\d", first) is None
    told = second.partition("site-b: ")[2]
    assert told.startswith("the claim is NOT supported")
    assert second.partition("site-a: ")[2].startswith("(")
    assert "<code>truncated</code>" in html
    assert "more was spent than this file says" in html
    answer = answer_of(federation)
    assert (answer["holds"], promise(answer, "site-b")["supported"]) == (False, False)


def test_patients_who_were_also_trained_on_without_dp_are_promised_nothing(
    federation: Path, answer_of: Any, page_of: Any, promise: Any, note_without_dp: Any
) -> None:
    note_without_dp(federation, "site-a", run="run-1", stage="decoder", round_index=0)
    page, _ = page_of(federation)
    entry = len((federation / "sites" / "site-a" / "ledger.jsonl").read_bytes().splitlines()) - 1
    assert (f"site-a: {WITHOUT}: patients of cohort patients were also trained on without it (entry "
            f"{entry}), so that no ε holds for them.") in page.text[0]
    assert f"entry-site-a-{entry}" in page.targets
    answer = answer_of(federation)
    told = promise(answer, "site-a")
    assert (told["kind"], told["supported"]) == ("void", True)
    assert told["cohorts"][0]["epsilon"] is None
    assert not any(row["site"] == "site-a" for row in answer["epsilon"]["by_part"])
    assert answer["epsilon"]["over_time"][0]["ends_void"]
    exact = {(row["stage"], row["what"]) for row in answer["releases"]
             if (row["site"], row["how"]) == ("site-a", "exact")}
    assert exact == {("decoder", "updates of weights"), ("decoder", "latent moments")}


def test_bounds_of_attacks_stand_beside_the_claim(
    template: Path, tmp_path: Path, answer_of: Any, page_of: Any, attacked: Any
) -> None:
    good, bad = attacked(tmp_path / "good.json", 2.5), attacked(tmp_path / "bad.json", 3.5)
    page, html = page_of(template, empirical=[good])
    assert ">2.750</a>" in html
    assert ">3.000</a>" in html
    assert "below the claim" in html
    assert page.targets <= set(page.ids)
    page, html = page_of(template, empirical=[good, bad])
    assert page.text[0].startswith("Not all that is claimed is supported")
    assert "an attack on the training code speaks against it" in page.text[0]
    answer = answer_of(template, empirical=[good, bad])
    assert (answer["holds"], answer["num_findings"], len(answer["empirical"])) == (False, 1, 2)
