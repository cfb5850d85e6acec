import json
import math
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from braing3n.audit.account import accounts_of
from braing3n.audit.cli import app
from braing3n.audit.output import up
from braing3n.audit.recompute import _pld, bounds, cost_more, is_below
from braing3n.errors import LedgerError
from braing3n.privacy import accountant
from braing3n.privacy.events import Event


def test_it_agrees_with_dp_accountings_own_composition() -> None:
    steps = ((0.1, 1.5, 50), (0.2, 2.0, 30), (1.0, 4.0, 1))
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    for q, sigma, count in steps:
        one = dp_event.GaussianDpEvent(sigma)
        accountant.compose(one if q == 1 else dp_event.PoissonSampledDpEvent(q, one), count)
    assert bounds(steps, 1e-5).pld == pytest.approx(accountant.get_epsilon(1e-5), abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.005, 0.9), st.floats(0.5, 8.0), st.integers(1, 60)), min_size=1,
                max_size=3, unique_by=lambda one: one[:2]))
def test_pld_is_never_above_rdp_and_both_are_what_sites_claim(
    steps: list[tuple[float, float, int]]
) -> None:
    found = bounds(tuple(sorted(steps)), 1e-5)
    events = [Event(mechanism="poisson_gaussian", sample_rate=q, noise_multiplier=sigma,
                    steps=count, stage="pretrain", round_index=0, run="r")
              for q, sigma, count in steps]
    claimed_pld = accountant.epsilon(events, 1e-5)
    if found.pld is None:
        assert math.isinf(claimed_pld)
        return
    claimed_rdp = accountant._rdp(accountant.merged(events), 1e-5)
    assert found.pld <= found.rdp
    assert found.pld == pytest.approx(min(claimed_pld, claimed_rdp), rel=1e-6, abs=1e-6)
    assert found.rdp <= claimed_rdp + 1e-6  # sites leave out orders where these gain little
    if min(sigma for _, sigma, _ in steps) <= 5:
        assert found.rdp == pytest.approx(claimed_rdp, rel=1e-6)


def test_what_no_accountant_can_put_into_a_number_gets_none() -> None:
    assert bounds(((0.5, 0.05, 10),), 1e-5).pld is None
    assert bounds(((0.5, 1e-4, 10),), 1e-5) == (None, None)
    assert bounds((), 1e-5) == (0.0, 0.0)


def test_a_claim_that_holds_is_told_by_stage_run_and_release(worked: Any) -> None:
    worked.work(0, stage="decoder", run="run-2", steps=5, noise_multiplier=2.0)
    worked.work(1, stage="decoder", what="moments", run="run-2", noise_multiplier=4.0)
    (one,) = accounts_of(worked.ledger, None)
    assert not one.is_understated
    assert (one.cohort, one.delta, one.num_unsettled) == ("patients", 1e-5, 0)
    assert one.bounds.pld == pytest.approx(one.claimed.pld, abs=1e-6)
    names = {kind: [(share.name, share.num_entries, share.steps) for share in shares]
             for kind, shares in one.shares.items()}
    assert names == {"stage": [("pretrain", 3, 30), ("decoder", 2, 6)],
                     "run": [("run-1", 3, 30), ("run-2", 2, 6)],
                     "release": [("update", 4, 35), ("moments", 1, 1)]}
    alone = [share.bounds.pld for share in one.shares["stage"]]
    assert max(alone) < one.bounds.pld < sum(alone)


def test_a_claim_below_what_the_entries_come_to_is_found(worked: Any) -> None:
    (honest,) = accounts_of(worked.ledger, None)
    worked.work(3, claimed=honest.claimed.pld)
    (one,) = accounts_of(worked.ledger, None)
    assert one.is_understated


def test_a_claim_on_a_finer_grid_is_lower_and_holds(site: Any) -> None:
    """Rounding up losses is a matter of taste; the site's number only has to be an upper bound."""
    steps = ((0.1, 1.5, 10),)
    usual, finer = bounds(steps, 1e-5).pld, _pld(steps, 1e-5, 1e-4)
    assert finer < usual - 5e-6
    site.work(0, claimed=finer)
    (one,) = accounts_of(site.ledger, None)
    assert one.claimed.pld < one.bounds.pld - 5e-6
    assert not one.is_understated
    assert is_below(one.claimed._replace(pld=finer - 1e-5), steps)


@pytest.mark.parametrize("limit", [0.98, 1.02])
def test_a_limit_is_held_against_what_the_entries_come_to(site: Any, limit: float) -> None:
    steps = ((0.1, 1.5, 10),)
    assert cost_more(limit * bounds(steps, 1e-5).pld, steps, 1e-5) == (limit < 1)
    assert cost_more(1e6, ((0.5, 0.05, 1),), 1e-5)  # no number is within no number


def test_what_was_never_settled_counts_in_full(site: Any) -> None:
    site.work(0)
    site.work(1, settles=False)
    (one,) = accounts_of(site.ledger, None)
    assert one.num_unsettled == 1
    assert one.bounds.pld == pytest.approx(bounds(((0.1, 1.5, 20),), 1e-5).pld)


@pytest.mark.parametrize("name", ["sample_rate", "noise_multiplier", "steps", "clip_norm", "unit"])
def test_an_entry_that_lacks_a_parameter_is_refused(worked: Any, name: str) -> None:
    lines = worked.ledger.read_bytes().splitlines()
    entry = json.loads(lines[-1])
    del entry["mechanism"][name]
    lines[-1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    worked.ledger.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match="no epsilon can be told") as refused:
        accounts_of(worked.ledger, None)
    assert f"lacks {name} of its mechanism" in refused.value.found


def test_patients_who_were_also_trained_on_without_dp_get_no_epsilon(worked: Any) -> None:
    from braing3n.privacy.ledger import open_ledger

    with open_ledger(worked.folder, clock=worked.clock) as ledger:
        ledger.note("without_dp", run="run-1", stage="decoder", round_index=0, cohort="patients")
    result = CliRunner().invoke(app, ["recompute", str(worked.ledger), "--json"])
    (cohort,) = json.loads(result.stdout)["ledgers"][0]["cohorts"]
    assert cohort["epsilon"]["pld"] is None
    assert "without differential privacy" in cohort["epsilon"]["void"]
    assert "no epsilon holds" in CliRunner().invoke(app, ["recompute", str(worked.ledger)]).stdout


def test_the_command_says_both_numbers_and_ends_with_1_where_a_claim_is_too_low(
    worked: Any, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["recompute", str(worked.ledger)])
    (one,) = accounts_of(worked.ledger, None)
    assert result.exit_code == 0
    assert f"claimed {up(one.claimed.pld)}, recomputed {up(one.bounds.pld)}" in result.stdout
    assert "the claim agrees with the entries" in result.stdout
    worked.work(3, claimed=0.5)
    result = CliRunner().invoke(app, ["recompute", str(worked.ledger)])
    assert result.exit_code == 1
    assert "the claim is too low" in result.stdout
    result = CliRunner().invoke(app, ["recompute", str(tmp_path / "no")])
    assert isinstance(result.exception, LedgerError)


def test_another_delta_can_be_asked_for(worked: Any) -> None:
    (at,) = accounts_of(worked.ledger, 1e-6)
    (usual,) = accounts_of(worked.ledger, None)
    assert at.delta == 1e-6
    assert at.bounds.pld > usual.bounds.pld
    assert not at.is_understated
