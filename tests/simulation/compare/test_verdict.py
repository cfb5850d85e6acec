from simulation.compare.arms import LOCAL
from simulation.compare.differences import Difference
from simulation.compare.results import Main, Result
from simulation.compare.verdict import verdict

AGE = Main("age", "r2")


def result(contestant: str, value: float, low: float, high: float, measure: str = "age") -> Result:
    return Result(measure, "r2", contestant, None, value, low, high, 60, 90)


def difference(against: str, value: float, p: float, measure: str = "age", *, overlap: bool = True,
               ) -> Difference:
    return Difference(measure, "r2", "federated", against, value, value - 0.1, value + 0.1, 0.9,
                      overlap, 60, p=p, p_adjusted=p)


RESULTS = [result("federated", 0.8, 0.7, 0.9), result("pooled", 0.85, 0.8, 0.9),
           result(LOCAL, 0.3, 0.2, 0.4), result("only b", 0.75, 0.6, 0.8),
           result("thumbnails", 0.81, 0.6, 0.9), result("random weights", 0.2, 0.1, 0.3)]
UNTRAINED = ("thumbnails", "random weights")


def test_it_says_who_won_and_whether_intervals_overlap() -> None:
    differences = [difference("pooled", -0.05, 0.3), difference(LOCAL, 0.5, 0.01, overlap=False),
                   difference("only b", 0.05, 0.2)]
    summary, sentence = verdict(RESULTS, differences, [AGE], UNTRAINED, 60).lines
    assert summary.startswith("Federated training beats each site's own training in 1 (age). Elsewhere "
                              "60 held-out subjects name no winner. ")
    assert ("Against pooled training, federated training wins 0 of 1 measure, loses 0, and 1 are "
            "undecided; the intervals of the two overlap in all.") in summary
    assert ("Against each site's own training, federated training wins 1 of 1 measure, loses 0, and 0 "
            "are undecided; the intervals of the two overlap in all but 1 (age).") in summary
    assert "its figure is at least as high in 1 of 1" in summary
    assert sentence.startswith("age (R², 60 subjects): federated 0.800 (0.700 to 0.900); ")
    assert ("pooled 0.850 (0.800 to 0.900), 90% of it: -0.050 (-0.150 to +0.050), undecided "
            "(intervals overlap)") in sentence
    assert "federated is better (intervals do not overlap)" in sentence


def test_a_defeat_is_called_one() -> None:
    differences = [difference("pooled", -0.3, 0.01, overlap=False), difference(LOCAL, -0.1, 0.02)]
    summary, sentence = verdict(RESULTS, differences, [AGE], UNTRAINED, 60).lines
    assert summary.startswith("Each site's own training beats federated training in 1 (age). Pooled "
                              "training beats federated training in 1 (age). Against")
    assert "pooled is better" in sentence
    assert f"{LOCAL} is better" in sentence


def test_where_nothing_is_decided_there_is_no_winner() -> None:
    summary = verdict(RESULTS, [difference("pooled", 0.3, 0.2), difference(LOCAL, 0.1, 0.3)], [AGE],
                      UNTRAINED, 60).headline
    assert summary.startswith("No winner: 60 held-out subjects do not tell federated training from "
                              "each site's own training or from pooled training.")


def test_baselines_that_nobody_trained_and_that_are_as_good_are_named() -> None:
    differences = [difference("pooled", 0.3, 0.2), difference("thumbnails", -0.01, 0.9),
                   difference("random weights", 0.6, 0.01)]
    summary = verdict(RESULTS, differences, [AGE], UNTRAINED, 60).lines[0]
    assert ("Against what nobody trained: it beats thumbnails in 0 of 1, and they score at least as "
            "high in 1 (age); it beats random weights in 1 of 1, and they score at least as high in "
            "none.") in summary


def test_a_number_that_goes_with_the_site_is_told_with_its_figure() -> None:
    differences = [difference("pooled", 0.1, 0.01)]
    for share, said in ((0.66, True), (0.1, False), (None, False)):
        sentence = verdict(RESULTS, differences, [Main("age", "r2", share)], UNTRAINED, 60).measures[0]
        assert ("the site alone tells 66% of it" in sentence) == said


def test_measures_that_are_not_summed_up_are_not_counted() -> None:
    differences = [difference("pooled", 0.1, 0.01), difference("pooled", 0.3, 0.01, "site")]
    summary = verdict(RESULTS, differences, [AGE], UNTRAINED, 60).lines[0]
    assert "wins 1 of 1 measure" in summary
