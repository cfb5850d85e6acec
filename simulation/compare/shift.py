"""What differs between the sites of a comparison: why a model of one may fail at another."""

from rich.console import Console

from braing3n.counting import counting
from simulation.compare.cohort import Sites
from simulation.compare.outcome import DomainShift
from simulation.partition.differences import find_differences
from simulation.partition.figure import draw_differences
from simulation.partition.intensities import compare_intensities
from simulation.partition.partitioners import Scheme
from simulation.partition.parts import Partition
from simulation.partition.table import sentences, shift_rows

_SCANS_PER_SITE = 8


def domain_shift(sites: Sites, console: Console) -> DomainShift:
    """Measure what differs between sites, in people and in grey values of some scans of each."""
    with counting(console, "comparing grey values") as show:
        intensities = compare_intensities(sites.parts, _SCANS_PER_SITE, show)
    found = find_differences(Partition(sites.parts, (), (), Scheme()), intensities)
    header, rows = shift_rows(found)
    return DomainShift(draw_differences(found), header, rows, sentences(found))
