import io

from matplotlib.image import imread

from braing3n.report.figures import site_styles
from braing3n.report.privacy_figure import spending, spending_figure
from braing3n.report.run_folder import MetricLine, RunRecord

# After round: (stage, round, ε). The third of pretrain is the evaluation after its last round.
TOLD = (("pretrain", 1, 2.0), ("pretrain", 2, 2.5), ("pretrain", 3, 2.5), ("decoder", 1, 3.0),
        ("decoder", 2, 3.0))


def _record(**by_site) -> RunRecord:
    stages = [{"name": name, "rounds": rounds, "sites_asked": 1, "sites_answered": 1, "seconds": 1.0,
               "bytes_down": 0, "bytes_up": 0} for name, rounds in (("pretrain", 2), ("decoder", 1))]
    accounts = {site: {"statement": "", "stages": {
        stage: {"epsilon_total": spent, "delta": 1e-5, "noise_multiplier": 1.0}
        for stage, spent in last.items()}} for site, last in by_site.items()}
    return RunRecord.model_validate({
        "id": "r", "name": "demo", "status": "completed", "plan_digest": "ab", "privacy": "",
        "versions": {}, "sites": tuple(by_site), "stages": stages, "privacy_by_site": accounts})


def _lines(site: str, told=TOLD) -> list[MetricLine]:
    return [MetricLine(stage=stage, round=number, site=site, phase="privacy",
                       metrics={} if spent is None else {"epsilon_total": spent})
            for stage, number, spent in told]


def test_rounds_go_on_over_stages_and_a_late_release_is_drawn_at_the_stages_last_round() -> None:
    record = _record(a={"pretrain": 2.5, "decoder": 3.4})  # 3.4: with moments, after the last line
    assert spending(record, _lines("a")[::-1], "a") == ((1, 2.0), (2, 2.5), (3, 3.0), (3, 3.4))
    assert spending(record, _lines("a"), "b") == ()


def test_a_curve_ends_where_no_epsilon_can_be_given() -> None:
    told = [*TOLD[:3], ("decoder", 1, None)]
    assert spending(_record(a={"pretrain": 2.5, "decoder": None}), _lines("a", told), "a") == (
        (1, 2.0), (2, 2.5))


def test_sites_that_spent_the_same_share_a_line() -> None:
    same = {"pretrain": 2.5, "decoder": 3.0}
    record = _record(a=same, b=same, c={"pretrain": 2.5, "decoder": 3.4}, d={})
    styles = site_styles(record.sites)
    lines = [line for site in "abc" for line in _lines(site)]
    drawn = spending_figure(record, lines, styles, budget=8.0)
    assert drawn is not None
    assert drawn.legend == ((styles["a"], ("a", "b")), (styles["c"], ("c",)))
    without = spending_figure(record, lines, styles, budget=None)
    assert without is not None
    assert imread(io.BytesIO(drawn.image)).std() > 0.05
    assert drawn.image != without.image


def test_without_any_epsilon_there_is_no_picture() -> None:
    record = _record(a={})
    assert spending_figure(record, [], site_styles(record.sites), budget=8.0) is None
