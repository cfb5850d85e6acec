from simulation.compare.arms import LOCAL
from simulation.compare.results import Difference, Result
from simulation.compare.verdict import verdict


def result(contestant: str, value: float, low: float, high: float, measure: str = "age") -> Result:
    return Result(measure, "r2", contestant, None, value, low, high, 60, 90)


def difference(against: str, value: float, low: float, high: float, measure: str = "age", *,
               overlap: bool = True) -> Difference:
    return Difference(measure, "r2", "federated", against, value, low, high, 0.9, overlap)


RESULTS = [result("federated", 0.8, 0.7, 0.9), result("pooled", 0.85, 0.8, 0.9),
           result(LOCAL, 0.3, 0.2, 0.4), result("only b", 0.75, 0.6, 0.8)]


def test_it_says_who_won_and_whether_intervals_overlap() -> None:
    differences = [difference("pooled", -0.05, -0.1, 0.01),
                   difference(LOCAL, 0.5, 0.4, 0.6, overlap=False),
                   difference("only b", 0.05, -0.01, 0.1)]
    summary, sentence = verdict(RESULTS, differences, [("age", "r2")])
    assert "better than pooled training in none, worse in none; in the other 1" in summary
    assert "better than each site's own training in 1 (age), worse in none" in summary
    assert "The two intervals overlap in all but 1 (age)." in summary
    assert "it is at least as good in 1 of 1" in summary
    assert "federated 0.800 (0.700 to 0.900)" in sentence
    assert ("pooled 0.850 (0.800 to 0.900), 90% of it: -0.050 (-0.100 to +0.010), not to be told "
            "apart, intervals overlap") in sentence
    assert "federated is better, intervals do not overlap" in sentence


def test_a_defeat_is_called_one() -> None:
    differences = [difference("pooled", -0.3, -0.4, -0.2, overlap=False),
                   difference(LOCAL, -0.1, -0.2, -0.01)]
    summary, sentence = verdict(RESULTS, differences, [("age", "r2")])
    assert "better than pooled training in none, worse in 1 (age)" in summary
    assert "better than each site's own training in none, worse in 1 (age)" in summary
    assert "pooled is better" in sentence
    assert f"{LOCAL} is better" in sentence


def test_measures_that_are_not_summed_up_are_not_counted() -> None:
    differences = [difference("pooled", 0.1, 0.05, 0.2), difference("pooled", 0.3, 0.2, 0.4, "site")]
    summary = verdict(RESULTS, differences, [("age", "r2")])[0]
    assert summary.startswith("In 1 measure, ")
