from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.conditions import VARIABLES, Conditions
from braing3n.config import load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.errors import OutputError
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.partition.differences import find_differences
from simulation.partition.files import write_partition
from simulation.partition.parts import partition_cohort

CODES = {variable.name: st.none() | st.sampled_from(variable.codes) for variable in VARIABLES
         if variable.codes}
KNOWN = st.builds(Conditions, age_years=st.none() | st.floats(0, 120),
                  severity=st.none() | st.floats(0, 1), **CODES)


def _write(rows, out):
    done = partition_cohort(CohortRows(tuple(rows), ()))
    return write_partition(done, find_differences(done), {}, out)


@settings(max_examples=25)
@given(st.lists(KNOWN, min_size=1, max_size=6))
def test_what_is_known_of_a_scan_is_read_back_as_it_was(tmp_path_factory, known):
    folder = tmp_path_factory.mktemp("partition")
    rows = [CohortRow(f"c:{number:03}", None, "Site 1", one, folder / f"{number}.nii")
            for number, one in enumerate(known)]
    assert _write(rows, folder / "out") == 1
    volumes = open_cohort(load_site_config(folder / "out/sites/site-1.yaml").data).volumes
    assert [volume.conditions for volume in volumes] == known
    assert [volume.subject for volume in volumes] == [row.subject for row in rows]


def test_sites_that_are_spelled_alike_have_files_of_their_own(tmp_path):
    sites = ["NYU", "nyu", "***", "x" * 60, "x" * 50]
    rows = [CohortRow(str(number), None, site, Conditions(), Path("/x.nii"))
            for number, site in enumerate(sites)]
    _write(rows, tmp_path)
    names = sorted(path.stem for path in (tmp_path / "sites").glob("*.yaml"))
    assert names == ["nyu", "nyu-2", "site", "x" * 36 + "-2", "x" * 40]
    assert [load_site_config(tmp_path / f"sites/{name}.yaml").name for name in names] == names


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        _write([CohortRow("a", None, "b", Conditions(), Path("/x.nii"))], tmp_path / "file")
