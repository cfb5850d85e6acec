"""A run's folder in, one HTML file out: it needs no network, no script and no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from braing3n.errors import OutputError
from braing3n.files import write_text
from braing3n.pages import data_uri, page_template
from braing3n.report import figures
from braing3n.report.departures import departures, human_bytes, sites_in
from braing3n.report.picture_files import PICTURE_NAMES, load_generated, load_pictures
from braing3n.report.privacy_figure import spending_figure
from braing3n.report.privacy_table import (
    REFUSALS,
    PrivacyRow,
    privacy_rows,
    refusals,
    sites_with_dp,
    starts_in_words,
    statements,
    unprotected,
)
from braing3n.report.probe_table import probe_rows
from braing3n.report.run_folder import (
    Exchange,
    MetricLine,
    PlanLimit,
    RunRecord,
    StageRecord,
    load_metrics,
    load_plan_budget,
    load_plan_text,
    load_run,
)
from braing3n.report.stage_table import findings, stage_row


@dataclass(frozen=True)
class SitePictures:
    """One site's pictures: a data URI, or None where it kept them; and what is lacking."""

    site: str
    image: str | None
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class PrivacySection:
    """What the page says of privacy; without rows where the run has no account by site.

    Attributes:
        statements: (sites, what each of them has spent).
        refusals: (site, why it is not in results that it was asked for).
        rows: Of the table.
        starts: (stage, where its first weights come from, their digest).
        budget: What the plan lets a run cost a site.
        with_dp: Sites that trained some stage with differential privacy.
        unprotected: Sites for whose patients no (ε, δ) holds.
        image: What was spent over rounds, as data URI; None where no site names an ε.
        legend: A style and the sites that it is of.
    """

    statements: list[tuple[tuple[str, ...], str]]
    refusals: list[tuple[str, tuple[str, ...]]]
    rows: list[PrivacyRow]
    starts: list[tuple[str, str, str]]
    budget: PlanLimit | None
    with_dp: tuple[str, ...]
    unprotected: tuple[str, ...]
    image: str | None
    legend: tuple[tuple[figures.SiteStyle, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Outcome:
    """Exchanges that went alike: which, how many answered, who did not and why.

    Bytes are of one exchange: the mean, where several are taken together.
    """

    stage: str
    what: str
    answered: int
    asked: int
    lost: tuple[tuple[str, str], ...]
    bytes_down: str
    bytes_up: str


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Parts that a run may lack, because it ended early or because sites keep their pictures, are
    said to be lacking in the report.

    Args:
        run: The folder that the coordinator wrote.

    Raises:
        OutputError: A file is missing or malformed, or the report cannot be written.
        ConfigError: plan.yaml is not YAML.
    """
    record = load_run(run)
    lines = load_metrics(run)
    styles = figures.site_styles(record.sites)
    generated = load_generated(run)
    html = page_template(Path(__file__).with_name("report.html.j2")).render(
        run=record,
        level=status_level(record.status),
        styles=styles,
        stages=[stage_row(record, stage, lines, styles) for stage in record.stages],
        not_begun=[name for name in record.stage_names
                   if name not in {stage.name for stage in record.stages}],
        left=departures(record, lines),
        findings=findings(record, lines),
        privacy=_privacy(run, record, lines, styles),
        pictures=[_site_pictures(run, site) for site in record.sites],
        generated=None if generated is None else data_uri(figures.generated_grid(generated)),
        is_phantom=(run / "phantom" / "truth.tsv").exists(),
        generation=_generation(record.generation),
        probes=probe_rows(record.probes, record.sites),
        probe_bytes=tuple(map(human_bytes, (record.probes.bytes_up, record.probes.bytes_down))),
        outcomes=[row for stage in record.stages for row in outcomes(stage)],
        plan=load_plan_text(run),
    )
    path = run / "report.html"
    try:
        write_text(path, html)
    except OSError as error:
        raise OutputError(f"{path} cannot be written", expected="a folder to write in",
                          found=str(error), fix="check its permissions and the disk") from error
    return path


def status_level(status: str) -> str:
    """Return how good a run's status is: `whole`, `partial`, `failed` or `running`."""
    if status == "completed":
        return "whole"
    if status.startswith("completed"):
        return "partial"
    return "failed" if status.startswith("failed") else "running"


def outcomes(stage: StageRecord) -> list[Outcome]:
    """Return a stage's exchanges in order, those in a row that went alike taken together."""
    rows = []
    for _, group in groupby(stage.participation, key=_lost):
        same = list(group)
        first, last = same[0], same[-1]
        what = (f"round {first.round}" if len(same) == 1
                else f"rounds {first.round} to {last.round}")
        rows.append(_outcome(stage.name, what, same))
    return rows + [_outcome(stage.name, exchange.what or "another exchange", [exchange])
                   for exchange in stage.other_exchanges]


def _outcome(stage: str, what: str, same: Sequence[Exchange]) -> Outcome:
    first = same[0]
    return Outcome(stage, what, len(first.answered), len(first.asked), _lost(first),
                   human_bytes(sum(exchange.bytes_down for exchange in same) / len(same)),
                   human_bytes(sum(exchange.bytes_up for exchange in same) / len(same)))


def _lost(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """Return (site, why) of those that were asked and are not in the result."""
    why = {site: REFUSALS.get(word, word) for site, word in exchange.refused.items()}
    return tuple((site, why.get(site, "no answer")) for site in exchange.asked
                 if site not in exchange.answered)


def _privacy(run: Path, record: RunRecord, lines: Sequence[MetricLine],
             styles: Mapping[str, figures.SiteStyle]) -> PrivacySection:
    accounts, answered = record.privacy_by_site, sites_in(record)
    budget = load_plan_budget(run)
    drawn = spending_figure(record, lines, styles, None if budget is None else budget.epsilon)
    with_dp = {site for stage in record.stages for site in sites_with_dp(accounts, stage.name)}
    return PrivacySection(
        statements=statements(accounts, answered), refusals=refusals(accounts),
        rows=privacy_rows(accounts, answered), starts=starts_in_words(record.starts), budget=budget,
        with_dp=tuple(site for site in record.sites if site in with_dp),
        unprotected=unprotected(accounts, answered),
        image=None if drawn is None else data_uri(drawn.image),
        legend=() if drawn is None else drawn.legend)


def _generation(figures_of: Mapping[str, float | None]) -> str | None:
    """Return how generated brains followed the age that was asked for, in a sentence."""
    rank, young, old, count = (figures_of.get(f"age_ventricle_{name}") for name in
                               ("spearman", "young_ml", "old_ml", "num_samples"))
    if rank is None or young is None or old is None or count is None:
        return None
    return (f"Generated brains: over {count:.0f} of ages 25 to 85, ventricles follow the age that was "
            f"asked for with a rank correlation of {rank:.2f} (1 is in perfect order, 0 not at all): "
            f"{young:.1f} ml in the younger half, {old:.1f} ml in the older.")


def _site_pictures(run: Path, site: str) -> SitePictures:
    pictures = load_pictures(run, site)
    if pictures is None:
        return SitePictures(site, None, ())
    return SitePictures(site, data_uri(figures.brain_slices(pictures)),
                        tuple(name for name in PICTURE_NAMES if name not in pictures))
