import pytest

from braing3n.report.curves import curves
from braing3n.report.figures import site_styles
from braing3n.report.run_folder import MetricLine


def _line(round_, phase, site="a", **metrics):
    return MetricLine(stage="pretrain", round=round_, site=site, phase=phase, metrics=metrics)


def test_only_figures_that_were_reported_are_drawn():
    styles = site_styles(["a"])
    assert curves([], styles) == {}
    lines = [_line(0, "evaluate", loss=1.0, trivial_loss=0.9), _line(1, "train", loss=0.5)]
    assert [name.split()[0] for name in curves(lines, styles)] == ["loss"]
    lines = [_line(1, "evaluate", psnr=20.0)]
    assert [name.split()[0] for name in curves(lines, styles)] == ["PSNR"]


def test_infinite_and_missing_values_do_not_stop_the_drawing():
    lines = [_line(0, "evaluate", loss=float("inf")), _line(1, "evaluate", loss=None),
             _line(2, "evaluate", loss=0.0)]
    assert len(curves(lines, site_styles(["a"]))) == 1


def test_losses_with_noise_are_a_panel_of_their_own_and_leave_the_others_panel_as_it_is():
    styles = site_styles(["a", "b"])
    exact = [_line(0, "evaluate", "b", loss=0.8), _line(1, "train", "b", loss=0.7)]
    noised = [_line(1, "train", loss=-40.0), _line(1, "privacy", epsilon_total=2.0)]
    alone = curves(exact, styles)
    both = curves([*exact, *noised], styles, noised=["a"])
    assert list(both) == ["loss (no unit)", "training loss with noise (no unit)"]
    assert both["loss (no unit)"] == alone["loss (no unit)"]
    assert list(curves(noised, styles, noised=["a"])) == ["training loss with noise (no unit)"]


@pytest.mark.parametrize("noised", [(), ("a",)])
def test_a_stage_in_which_all_is_withheld_has_no_panel(noised):
    assert curves([_line(1, "privacy", epsilon_total=2.0)], site_styles(["a"]), noised=noised) == {}
