import io
import json
import os

import pytest
from typer.testing import CliRunner

from braing3n.cli import app, main
from braing3n.errors import OutputError

RUNNER = CliRunner()


def _run(*arguments):
    return RUNNER.invoke(app, ["check", *map(str, arguments)])


@pytest.fixture
def folder(write_scan, tmp_path):
    for number in (1, 2):
        write_scan(tmp_path / f"d/sub-0{number}/anat/sub-0{number}_T1w.nii.gz", seed=number)
    (tmp_path / "d/participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tM\n"
                                                 "sub-02\t40\tF\n")
    return tmp_path / "d"


def test_a_sound_folder_ends_with_0_and_one_sentence(folder):
    outcome = _run(folder)
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[-1].startswith("ready: 3 files, 2 scans, of which 2 can be used")


def test_an_error_ends_with_1_and_says_what_to_do(folder):
    (folder / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"")
    outcome = _run(folder)
    assert outcome.exit_code == 1
    assert "file-empty" in outcome.stdout
    assert "to do:    copy or convert it again" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith("not ready:")


def test_json_is_one_object_on_stdout(folder):
    (folder / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"")
    outcome = json.loads(_run(folder, "--json").stdout)
    assert list(outcome) == ["schema", "folder", "num_files", "num_volumes", "findings"]
    error = next(found for found in outcome["findings"] if found["severity"] == "ERROR")
    assert error == {"code": "file-empty", "severity": "ERROR",
                     "file": "sub-01/anat/sub-01_T1w.nii.gz", "expected": "a NIfTI file",
                     "found": "0 bytes", "fix": "copy or convert it again"}


def test_a_page_is_written_for_its_owner_alone(folder, tmp_path):
    page = tmp_path / "check.html"
    assert _run(folder, "--html", page).exit_code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.read_text().count("data:image/jpeg") == 2


def test_a_page_inside_the_data_is_written_and_said(folder, tmp_path):
    assert "inside the data" not in _run(folder, "--html", tmp_path / "a.html").stderr
    assert "inside the data" in _run(folder, "--html", folder / "a.html").stderr


@pytest.mark.parametrize("place", ["pipe", "", "sub-01/anat/sub-01_T1w.nii.gz/page.html"])
def test_what_is_no_file_is_not_replaced_by_a_page_and_nothing_is_read_for_it(place, folder):
    os.mkfifo(folder / "pipe")
    outcome = _run(folder, "--html", folder / place)
    assert isinstance(outcome.exception, OutputError)
    assert "is no place for a page" in str(outcome.exception)
    assert outcome.stdout == ""
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["sub-01/anat/sub-01_T1w.nii.gz", "participants.tsv"])
def test_data_is_not_overwritten_by_a_page_but_an_earlier_page_and_an_empty_file_are(name, folder,
                                                                                     tmp_path):
    before = (folder / name).read_bytes()
    outcome = _run(folder, "--html", folder / name)
    assert isinstance(outcome.exception, OutputError)
    assert outcome.exception.found == "a file that is no page"
    assert (folder / name).read_bytes() == before
    (tmp_path / "page.html").touch()
    for _ in range(2):
        assert _run(folder, "--html", tmp_path / "page.html").exit_code == 0


def _main(monkeypatch, *arguments, encoding="utf-8"):
    """Run the program with streams of an encoding; return its exit code and what is on stdout."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
               for name in ("stdout", "stderr")}
    monkeypatch.setattr("sys.argv", ["braing3n", "check", *map(str, arguments)])
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, streams["stdout"].buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_the_terminal_cannot_write_are_told_with_escapes(encoding, write_scan, tmp_path,
                                                                    monkeypatch):
    write_scan(tmp_path / "sub-01_Köln_T1w.nii.gz")
    code, text = _main(monkeypatch, tmp_path, encoding=encoding)
    assert code == 0
    assert {"ascii": "K\\xf6ln", "utf-8": "Köln"}[encoding] in text
    code, text = _main(monkeypatch, tmp_path, "--json", encoding=encoding)
    assert code == 0
    assert "sub-01_Köln_T1w.nii.gz" in {found["file"] for found in json.loads(text)["findings"]}


@pytest.mark.parametrize("name", [b"M\xfcnchen", b"[bold]y", b"data[/bold]", b"a\x1b[2Jb"])
def test_the_folders_own_name_is_told_whatever_bytes_it_has(name, write_scan, tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(name)
    write_scan(folder / "sub-01_T1w.nii.gz").write_bytes(b"")
    code, text = _main(monkeypatch, folder, "--html", tmp_path / "page.html")
    told = os.fsdecode(name).encode("utf-8", "backslashreplace").decode().replace("\x1b", "\\x1b")
    assert code == 1
    assert told in text.replace("\n", "")
    code, text = _main(monkeypatch, folder, "--json")
    assert json.loads(text)["folder"].endswith(told)


@pytest.mark.parametrize("arguments", [[], ["no-such-folder"]])
def test_nothing_to_check_is_misuse(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["braing3n", "check", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "expected: a folder" in capsys.readouterr().err


def test_all_rules_can_be_listed():
    outcome = _run("--rules")
    assert outcome.exit_code == 0
    assert "| `gzip-truncated` | ERROR |" in outcome.stdout
