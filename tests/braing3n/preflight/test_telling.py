from pathlib import Path

from braing3n.data.findings import finding
from braing3n.preflight.telling import Teller

ROOT = Path("/data")


def told(found, *named):
    findings = [finding("identity-name", ROOT / name, "the file's name holds a person's name")
                for name in named]
    return Teller.of(ROOT, findings).fields(found)


def test_a_part_of_a_name_that_is_hidden_is_hidden_elsewhere():
    unused = finding("file-unused", ROOT, "1 Xaver, 2 bold")
    assert told(unused)["found"] == "1 Xaver, 2 bold"
    assert told(unused, "sub-01/anat/Mustermann_Xaver.nii.gz")["found"] == "1 ***, 2 bold"


def test_other_words_of_such_a_name_and_longer_words_stay():
    found = finding("file-unused", ROOT, "1 T1w, 2 Xaverine")
    assert told(found, "Mustermann_Xaver_T1w.nii.gz")["found"] == "1 T1w, 2 Xaverine"


def test_a_site_that_is_a_person_is_hidden_in_each_spelling():
    found = finding("site-spelling", ROOT / "participants.tsv",
                    "'Praxis Dr. Quandt' = 'praxis dr. quandt'")
    assert "uandt" not in told(found)["found"]


def test_ids_that_name_a_person_are_hidden_within_a_sentence():
    found = finding("id-mismatch", ROOT / "participants.tsv", "mustermann_erika_1 -> sub-01")
    assert told(found)["found"] == "*** -> sub-01"
