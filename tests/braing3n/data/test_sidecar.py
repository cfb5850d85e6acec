"""Sidecars: what is read of one, and which apply to a scan."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.sidecar import MAX_BYTES, MAX_DEPTH, Sidecars, read_sidecar


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_nearer_sidecars_win_then_those_with_more_entities(tmp_path):
    scan = tmp_path / "sub-01/ses-1/anat/sub-01_ses-1_acq-x_run-1_T1w.nii.gz"
    order = ["T1w", "acq-x_T1w", "acq-x_run-1_T1w", "sub-01/T1w", "sub-01/sub-01_T1w",
             "sub-01/ses-1/sub-01_ses-1_T1w", "sub-01/ses-1/anat/T1w",
             "sub-01/ses-1/anat/sub-01_ses-1_acq-x_T1w",
             "sub-01/ses-1/anat/sub-01_ses-1_acq-x_run-1_T1w"]
    for number, name in enumerate(order):
        _write(tmp_path / f"{name}.json", {"last": number, f"own{number}": True})
        for other in ("T2w", "acq-y_T1w", "sub-02_T1w", "run-1_echo-1_T1w", "run-11_T1w"):
            _write((tmp_path / name).with_name(f"{other}.json"), {"wrong": True})
        assert Sidecars(tmp_path).of(scan) == {"last": number} | {
            f"own{n}": True for n in range(number + 1)}


def test_sidecars_that_contradict_each_other_on_one_level_say_nothing(tmp_path):
    scan = tmp_path / "sub-01/anat/sub-01_acq-x_run-1_T1w.nii"
    root = _write(tmp_path / "T1w.json", {"a": 0, "b": 0, "c": 0})
    first = _write(tmp_path / "acq-x_T1w.json", {"a": 1, "b": 2, "d": 4})
    second = _write(tmp_path / "run-1_T1w.json", {"a": 1, "b": 3, "e": 5})
    sidecars = Sidecars(tmp_path)
    assert sidecars.of(scan) == {"a": 1, "c": 0, "d": 4, "e": 5}
    assert set(sidecars.disputed) == {first, second}
    assert root not in sidecars.disputed
    _write(tmp_path / "sub-01/anat/sub-01_T1w.json", {"b": 9})
    assert Sidecars(tmp_path).of(scan)["b"] == 9


def _naive(root, scan):
    """Return the fields in a plain way: every JSON file above the scan, sorted by the rules."""
    pairs = scan.name.partition(".")[0].split("_")
    applying = []
    for path in root.rglob("*.json"):
        own = path.stem.split("_")
        if path.parent in scan.parents and own[-1] == pairs[-1] and set(own[:-1]) <= set(pairs[:-1]):
            applying.append((len(path.parts), len(own), path))
    merged = {}
    for _, _, path in sorted(applying):
        merged |= json.loads(path.read_text())
    return merged


@given(st.sets(st.tuples(st.sampled_from(["", "sub-1", "sub-1/ses-1", "sub-1/ses-1/anat"]),
                         st.integers(0, 4), st.sampled_from(["T1w", "T2w"])), max_size=12))
def test_merging_agrees_with_a_naive_search(tmp_path_factory, chosen):
    root = tmp_path_factory.mktemp("tree")
    pairs = ["sub-1", "ses-1", "acq-x", "run-2"]  # nested, as BIDS demands of one level
    for folder, number, suffix in chosen:
        name = "_".join([*pairs[:number], suffix])
        _write(root / folder / f"{name}.json", {"last": f"{folder}/{name}", f"{folder}/{name}": 1})
    scan = root / "sub-1/ses-1/anat/sub-1_ses-1_acq-x_run-2_T1w.nii.gz"
    assert Sidecars(root).of(scan) == _naive(root, scan)


_PAIRS = st.sets(st.sampled_from(["sub-1", "sub-2", "acq-x", "acq-y", "run-1"])).map(sorted).map(tuple)


@given(st.sets(st.tuples(st.sampled_from(["", "sub-1/anat"]), st.sampled_from(["T1w", "T2w"]), _PAIRS),
               max_size=20))
def test_only_sidecars_whose_entities_the_scan_has_apply(tmp_path_factory, chosen):
    root = tmp_path_factory.mktemp("tree")
    for folder, suffix, pairs in chosen:
        name = "_".join([*pairs, suffix])
        _write(root / folder / f"{name}.json", {f"{folder}/{name}": 1})
    scan = root / "sub-1/anat/sub-1_acq-x_run-1_T1w.nii.gz"
    assert Sidecars(root).of(scan) == _naive(root, scan)


def test_suffixes_and_endings_may_be_in_other_letters(tmp_path):
    _write(tmp_path / "flair.JSON", {"a": 1})
    _write(tmp_path / "fla.json", {"b": 1})
    assert Sidecars(tmp_path).of(tmp_path / "sub-01_FLAIR.NII.GZ") == {"a": 1}


def test_sidecars_of_thousands_of_scans_in_one_folder_are_not_all_looked_at(tmp_path, monkeypatch):
    for number in range(300):
        _write(tmp_path / f"sub-1_run-{number}_T1w.json", {"n": number})
    looked = []
    monkeypatch.setattr("braing3n.data.sidecar.read_sidecar",
                        lambda path: looked.append(path) or read_sidecar(path))
    sidecars = Sidecars(tmp_path)
    (candidates,) = {len(found) for found in sidecars._index(tmp_path).values()}
    assert candidates == 1
    assert [sidecars.of(tmp_path / f"sub-1_run-{n}_T1w.nii")["n"] for n in range(300)] == [*range(300)]
    assert len(looked) == 300


def test_a_shared_sidecar_is_read_once(tmp_path, monkeypatch):
    _write(tmp_path / "T1w.json", {"MagneticFieldStrength": 3})
    looked = []
    monkeypatch.setattr("braing3n.data.sidecar.read_sidecar",
                        lambda path: looked.append(path) or read_sidecar(path))
    sidecars = Sidecars(tmp_path)
    said = [sidecars.of(tmp_path / f"sub-{n}/anat/sub-{n}_T1w.nii") for n in range(500)]
    assert said == [{"MagneticFieldStrength": 3}] * 500
    assert len(looked) == 1


def test_a_scan_outside_the_root_is_refused(tmp_path):
    with pytest.raises(ValueError, match="subpath"):
        Sidecars(tmp_path / "a").of(tmp_path / "b/sub-01_T1w.nii")


@pytest.mark.parametrize(("content", "damage"), [
    (b"", "not JSON (empty)"), (b"{not json", "not JSON (line 1)"),
    (b'{\n"a": 1,\n}', "not JSON (line 3)"),
    (b"[1]", "JSON, but not an object"), (b"null", "JSON, but not an object"),
    (b'{"a": "\xfc"}', "not UTF-8"), ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    (b'{"a": ' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "a number with too many digits"),
    (b"/annex/objects/MD5E-s8196--4df1.json\n", "not JSON (line 1)"),
])
def test_damaged_sidecars_say_what_is_wrong(content, damage, tmp_path):
    (tmp_path / "T1w.json").write_bytes(content)
    assert read_sidecar(tmp_path / "T1w.json").damage == damage
    sidecars = Sidecars(tmp_path)
    assert sidecars.of(tmp_path / "sub-01_T1w.nii") == {}
    assert sidecars.damaged == [tmp_path / "T1w.json"]


def test_sidecars_that_are_no_files_are_damaged(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to("nowhere")
    (tmp_path / "circle.json").symlink_to("circle.json")
    assert read_sidecar(tmp_path / "folder.json").damage == "no file but a folder or a device"
    assert read_sidecar(tmp_path / "link.json").damage == "a link to a file that is not there"
    assert "cannot be read" in read_sidecar(tmp_path / "circle.json").damage


def test_a_sidecar_may_have_16_mib_and_not_a_byte_more(tmp_path):
    path = tmp_path / "T1w.json"
    head, tail = b'{"a": "', b'"}'
    path.write_bytes(head + b"x" * (MAX_BYTES - len(head + tail)) + tail)
    assert read_sidecar(path).damage is None
    path.write_bytes(head + b"x" * (MAX_BYTES - len(head + tail) + 1) + tail)
    assert read_sidecar(path).damage == "more than 16 MiB"


def test_a_sidecar_may_hold_many_lists_but_no_deep_ones(tmp_path):
    path = tmp_path / "T1w.json"
    assert read_sidecar(_write(path, {"rows": [[1]] * 5000})).damage is None
    for depth, damage in ((MAX_DEPTH - 1, None), (MAX_DEPTH, "nested too deeply")):
        text = '{"a": ' + "[" * depth + "]" * depth + "}"
        assert read_sidecar(_write(path, text)).damage == damage


def test_marks_nan_and_repeated_names_are_tolerated(tmp_path):
    path = _write(tmp_path / "T1w.json",
                  '\ufeff{"a": 1, "a": 1, "b": NaN, "c": -Infinity, "d": 1, "d": 2}')
    sidecar = read_sidecar(path)
    assert (sidecar.content["a"], sidecar.content["d"], sidecar.num_repeated) == (1, 2, 1)
    assert sidecar.content["b"] != sidecar.content["b"]


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,a1e-.\\ \n', max_size=60).map(str.encode))
def test_any_bytes_are_read_as_python_reads_them_or_damaged(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    sidecar = read_sidecar(path)
    try:
        expected = json.loads(content.decode("utf-8-sig"))
    except ValueError:
        expected = None
    assert (sidecar.damage is None) == isinstance(expected, dict)
    assert repr(dict(sidecar.content)) == repr(expected if isinstance(expected, dict) else {})
