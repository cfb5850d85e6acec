"""`braing3n site init`, `keygen`, `request`, `accept`: a hospital joins, and whom it does not trust."""

import io
import json
import stat
import sys
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

from braing3n import cli
from braing3n.config import load_site_config
from braing3n.enrolment.answer import read_answer
from braing3n.enrolment.request import read_request
from braing3n.enrolment.signed_files import render
from braing3n.errors import ConfigError, ProtocolError
from braing3n.privacy.ledger import load_history, open_ledger
from client.network_folder import load_enrolled
from client.site_template import Wanted, example, write_settings
from server.authority import initialise
from server.consortium import load_consortium

EXAMPLE = Path(__file__).parents[2] / "site_configs/example.yaml"


@pytest.fixture
def braing3n(monkeypatch, capsys):
    """Run the program as a shell would, and return its exit code, stdout and stderr."""

    groups = list(cli.app.registered_groups)

    def run(*arguments, typed=""):
        # `main` adds groups each time, and a shell starts it once.
        monkeypatch.setattr(cli.app, "registered_groups", list(groups))
        monkeypatch.setattr(sys, "argv", ["braing3n", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def hospital(tmp_path, braing3n, write_scan):
    """Make a hospital with two scans and no keys; return its settings."""

    def made(name="hospital-a", place=None):
        folder = tmp_path / (place or name)
        for number in (1, 2):
            write_scan(folder / f"data/sub-0{number}/anat/sub-0{number}_T1w.nii.gz", seed=number)
        settings = folder / "site.yaml"
        assert braing3n("site", "init", settings, "--name", name, "--folder", "data", "--state-dir",
                        "state", "--epsilon", "0")[0] == 0
        return settings

    return made


@pytest.fixture
def begun(hospital, braing3n):
    """Make a hospital with keys, whose ledger has begun; return its settings."""
    site = hospital()
    braing3n("site", "keygen", site)
    with open_ledger(site.parent / "state"):
        pass
    return site


@pytest.fixture
def consortium(tmp_path):
    """Make a coordinator's folder; return its settings."""

    def made(name="demo", made_on=None):
        settings = tmp_path / name / "consortium.yaml"
        settings.parent.mkdir()
        settings.write_text(yaml.safe_dump({
            "name": name, "names": ["fl.example.org"], "port": 9443, "state_dir": "state"}))
        initialise(load_consortium(settings), made_on or datetime.now(UTC))
        return settings

    return made


@pytest.fixture
def enrolled(braing3n, tmp_path):
    """Have a site with keys ask, and a coordinator answer; return the answer's file."""

    def made(site, coordinator, *more):
        number = len(list(tmp_path.glob("*.json")))
        request, answer = tmp_path / f"request-{number}.json", tmp_path / f"answer-{number}.json"
        assert braing3n("site", "request", site, "--out", request)[0] == 0
        code, _, err = braing3n("server", "enrol", coordinator, request, "--yes", "--out", answer,
                                *more)
        assert code == 0, err
        return answer

    return made


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_the_whole_exchange_between_two_folders(hospital, consortium, tmp_path, braing3n):
    site, coordinator = hospital(), consortium()
    code, out, _ = braing3n("site", "keygen", site)
    assert code == 0
    assert out.count("made:") == 2
    request = tmp_path / "request.json"
    code, out, _ = braing3n("site", "request", site, "--out", request, "--json")
    assert code == 0
    site_words = json.loads(out)["words"]
    code, out, _ = braing3n("server", "enrol", coordinator, request, "--words", site_words, "--out",
                            tmp_path / "answer.json", "--json")
    assert code == 0
    server_words = json.loads(out)["words"]
    code, out, _ = braing3n("site", "accept", site, tmp_path / "answer.json", "--words", server_words)
    assert code == 0
    network = site.parent / "state/network"
    assert f"accepted: it is in {network}" in out
    assert {path.name: mode(path) for path in network.iterdir()} == dict.fromkeys(
        ("answer.json", "ca.crt", "supernode.key", "supernode.pub"), 0o600)
    assert mode(network) == mode(network.parent) == 0o700
    config = load_site_config(site)
    found = load_enrolled(config, datetime.now(UTC))
    assert (found.consortium, found.addresses) == ("demo", ("fl.example.org:9443",))
    assert network.joinpath("ca.crt").read_text() == (coordinator.parent / "state/ca.crt").read_text()


def test_flower_takes_the_keys_where_they_lie_and_no_private_key_is_in_what_is_mailed(
        hospital, consortium, enrolled, braing3n, tmp_path):
    site = hospital()
    braing3n("site", "keygen", site)
    network = site.parent / "state/network"
    pair = _try_setup_client_authentication(Namespace(
        auth_supernode_private_key=str(network / "supernode.key"), auth_supernode_public_key=None))
    assert try_load_public_key(network / "supernode.pub") == public_key_to_bytes(pair[1])
    enrolled(site, consortium())
    secrets = [b"".join((site.parent / name).read_bytes().splitlines()[1:-1])
               for name in ("state/network/supernode.key", "state/ledger.key")]
    for mailed in tmp_path.glob("*.json"):
        content = mailed.read_bytes().replace(b"\n", b"")
        assert b"PRIVATE" not in content
        for secret in secrets:
            assert secret[-40:] not in content


def test_keys_that_are_there_are_kept_and_the_ledger_begins_with_its_key(hospital, braing3n, tmp_path):
    site = hospital()
    assert braing3n("site", "keygen", site)[0] == 0
    state = site.parent / "state"
    assert (state / "ledger.jsonl").read_bytes() == b""
    assert mode(state / "ledger.key") == 0o600
    before = contents(state)
    code, out, _ = braing3n("site", "keygen", site)
    assert code == 0
    assert out.count("kept, as it was there:") == 2
    assert contents(state) == before
    with open_ledger(state) as ledger:
        assert [entry.code for entry in ledger.entries] == ["begun"]
        key = ledger.public_key
    code, out, _ = braing3n("site", "keygen", site, "--json")
    assert json.loads(out)["made"] == []
    assert json.loads(out)["ledger_key"] == key.text
    assert len(load_history(state).entries) == 1
    assert read_request(_asked(braing3n, site, tmp_path), datetime.now(UTC)).ledger_key == key.text


def _asked(braing3n, site, tmp_path):
    path = tmp_path / "asked.json"
    path.unlink(missing_ok=True)
    code, _, err = braing3n("site", "request", site, "--out", path)
    assert code == 0, err
    return path


@pytest.mark.parametrize("lost", ["ledger.key", "ledger.jsonl"])
def test_no_second_ledger_key_is_made_where_a_ledger_was(begun, braing3n, lost):
    state = begun.parent / "state"
    (state / lost).unlink()
    before = contents(state)
    code, _, err = braing3n("site", "keygen", begun)
    assert code == 2
    assert "is gone" in err
    assert contents(state) == before


@pytest.mark.parametrize("damage", ["an edited line", "nothing but an answer that was kept"])
def test_no_key_is_made_at_a_site_whose_ledger_does_not_hold(begun, braing3n, damage):
    state = begun.parent / "state"
    (state / "network/supernode.key").unlink()
    if damage == "an edited line":
        content = (state / "ledger.jsonl").read_bytes()
        (state / "ledger.jsonl").write_bytes(content.replace(b"begun", b"begum"))
    else:
        for path in state.glob("ledger.*"):
            path.unlink()
        (state / "outbox").mkdir()
        np.savez(state / "outbox" / f"train-{'0' * 64}.npz", x=np.zeros(1))
    code, _, err = braing3n("site", "keygen", begun)
    assert code == 2
    assert "ledger.jsonl is" in err
    assert not (state / "network/supernode.key").exists()


def test_a_new_supernode_key_keeps_the_ledgers_chain(hospital, consortium, enrolled, braing3n):
    site, coordinator = hospital(), consortium()
    braing3n("site", "keygen", site)
    assert braing3n("site", "accept", site, enrolled(site, coordinator), "--yes")[0] == 0
    state = site.parent / "state"
    with open_ledger(state) as ledger:
        head = ledger.head
    (state / "network/supernode.key").rename(state / "network/supernode.key.old")
    code, out, _ = braing3n("site", "keygen", site, "--json")
    assert json.loads(out)["made"] == ["SuperNode"]
    code, _, err = braing3n("site", "check", site)
    assert code == 2
    assert "for another SuperNode key" in err
    with pytest.raises(ProtocolError, match="another SuperNode key"):
        load_enrolled(load_site_config(site), datetime.now(UTC))
    answer = enrolled(site, coordinator, "--replace-key")
    assert braing3n("site", "accept", site, answer, "--yes")[0] == 0
    assert load_enrolled(load_site_config(site), datetime.now(UTC)).seq == 2
    with open_ledger(state) as ledger:
        assert ledger.head == head


@pytest.mark.parametrize("keys", ["none", "SuperNode's open to others", "ledger's gone"])
def test_a_request_needs_keys_and_makes_none(hospital, braing3n, tmp_path, keys):
    site = hospital()
    state = site.parent / "state"
    if keys != "none":
        braing3n("site", "keygen", site)
    if "open" in keys:
        (state / "network/supernode.key").chmod(0o644)
    if "gone" in keys:
        (state / "ledger.key").unlink()
    code, _, err = braing3n("site", "request", site, "--out", tmp_path / "r.json")
    assert code == 2
    assert ("open to others" if "open" in keys else "site keygen") in err
    assert not (tmp_path / "r.json").exists()
    assert (state / "ledger.key").exists() == ("open" in keys)


def test_a_request_is_not_overwritten_and_a_place_that_cannot_be_written_is_told(
        hospital, braing3n, tmp_path):
    site = hospital()
    braing3n("site", "keygen", site)
    (tmp_path / "file").touch()
    for place, told in ((tmp_path / "file", "is taken"), (tmp_path / "file/r", "cannot be written"),
                        (tmp_path / ("a" * 300), "nobody can tell"),
                        (tmp_path / ("a" * 240), "cannot be written")):
        code, _, err = braing3n("site", "request", site, "--out", place)
        assert code == 2
        assert told in err


def test_wrong_words_and_a_person_who_says_no_keep_nothing(hospital, consortium, enrolled, braing3n):
    site = hospital()
    braing3n("site", "keygen", site)
    answer = enrolled(site, consortium())
    state = site.parent / "state"
    before = contents(state)
    for more, typed, code in ((("--words", "abandon " * 12), "", 2), ((), "n\n", 1)):
        assert braing3n("site", "accept", site, answer, *more, typed=typed)[0] == code
        assert contents(state) == before
    assert braing3n("site", "accept", site, answer, typed="y\n")[0] == 0


def test_an_answer_for_another_site_is_refused(hospital, consortium, enrolled, braing3n):
    a, b, coordinator = hospital(), hospital("hospital-b"), consortium()
    for site in (a, b):
        braing3n("site", "keygen", site)
    enrolled(a, coordinator)
    code, _, err = braing3n("site", "accept", a, enrolled(b, coordinator), "--yes")
    assert code == 2
    assert "for another site" in err
    assert not (a.parent / "state/network/answer.json").exists()


def test_a_site_with_the_same_name_and_other_keys_cannot_take_an_answer(
        hospital, consortium, enrolled, braing3n):
    site, namesake = hospital(), hospital(place="elsewhere")
    for one in (site, namesake):
        braing3n("site", "keygen", one)
    code, _, err = braing3n("site", "accept", namesake, enrolled(site, consortium()), "--yes")
    assert code == 2
    assert "for another SuperNode key" in err


def test_an_edited_answer_and_wrong_kinds_of_files_are_refused(hospital, consortium, enrolled, braing3n,
                                                               tmp_path):
    site = hospital()
    braing3n("site", "keygen", site)
    answer = enrolled(site, consortium())
    text = answer.read_text()
    wrong = tmp_path / "wrong.json"
    for content, told in (
        (text.replace("fl.example.org", "fl.example.com"), "was edited"),
        (_asked(braing3n, site, tmp_path).read_text(), "another kind of file"),
        ((site.parent / "state/network/supernode.key").read_text(), "must never leave"),
        ("", "another kind"),
    ):
        wrong.write_text(content)
        code, _, err = braing3n("site", "accept", site, wrong, "--yes")
        assert code == 2
        assert told in err
    code, _, err = braing3n("site", "accept", site, tmp_path / "none", "--yes")
    assert code == 2
    assert not (site.parent / "state/network/answer.json").exists()


def test_a_replayed_answer_of_another_consortium_shows_in_its_words_and_is_refused_by_a_member(
        hospital, consortium, enrolled, braing3n):
    site, ours, other = hospital(), consortium(), consortium("other")
    braing3n("site", "keygen", site)
    answer, replayed = enrolled(site, ours), enrolled(site, other)
    words = json.loads(braing3n("server", "roster", ours, "--json")[1])["words"]
    code, _, err = braing3n("site", "accept", site, replayed, "--words", words)
    assert code == 2
    assert "not the words of the coordinator" in err
    assert braing3n("site", "accept", site, answer, "--words", words)[0] == 0
    code, _, err = braing3n("site", "accept", site, replayed, "--yes")
    assert code == 2
    assert "by another consortium" in err
    assert load_enrolled(load_site_config(site), datetime.now(UTC)).consortium == "demo"
    assert braing3n("site", "accept", site, replayed, "--yes", "--replace")[0] == 0
    assert load_enrolled(load_site_config(site), datetime.now(UTC)).consortium == "other"


def test_another_ca_of_the_same_consortium_needs_replace(hospital, consortium, enrolled, braing3n,
                                                         tmp_path):
    site, ours = hospital(), consortium()
    braing3n("site", "keygen", site)
    assert braing3n("site", "accept", site, enrolled(site, ours), "--yes")[0] == 0
    (ours.parent / "state").rename(ours.parent / "state.lost")
    initialise(load_consortium(ours), datetime.now(UTC))
    code, _, err = braing3n("site", "accept", site, enrolled(site, ours), "--yes")
    assert code == 2
    assert "with a new CA" in err


def test_an_older_answer_is_refused_and_the_same_or_a_newer_one_taken(hospital, consortium, enrolled,
                                                                     braing3n, tmp_path, monkeypatch):
    site, coordinator = hospital(), consortium()
    braing3n("site", "keygen", site)
    old, new = enrolled(site, coordinator), tmp_path / "new.json"
    later = datetime.now(UTC) + timedelta(minutes=4)
    monkeypatch.setattr("braing3n.moments.utc_now", lambda: later)
    assert braing3n("server", "answer", coordinator, "hospital-a", "--out", new)[0] == 0
    for answer, code in ((old, 0), (old, 0), (new, 0), (old, 2)):
        assert braing3n("site", "accept", site, answer, "--yes")[0] == code


def test_an_expired_ca_and_a_wrong_clock_are_told(
        hospital, consortium, enrolled, braing3n, monkeypatch):
    site, coordinator = hospital(), consortium()
    braing3n("site", "keygen", site)
    answer = enrolled(site, coordinator)
    now = datetime.now(UTC)
    for days, told in ((3651, "has expired"), (-1, "in the future")):
        with monkeypatch.context() as patched:
            patched.setattr("braing3n.moments.utc_now",
                            lambda days=days: now + timedelta(days))
            code, _, err = braing3n("site", "accept", site, answer, "--yes")
        assert code == 2
        assert told in err
    assert braing3n("site", "accept", site, answer, "--yes")[0] == 0
    with pytest.raises(ConfigError, match="has expired"):
        load_enrolled(load_site_config(site), now + timedelta(days=3651))


def test_site_check_says_how_long_an_enrolment_holds_where_there_is_one(
        hospital, consortium, enrolled, braing3n):
    site = hospital()
    code, before, err = braing3n("site", "check", site, "--json")
    assert "consortium" not in err
    braing3n("site", "keygen", site)
    assert "consortium" not in braing3n("site", "check", site)[2]
    soon = datetime.now(UTC) - timedelta(days=3650 - 20)
    other = consortium("other", made_on=soon)
    braing3n("server", "renew", other)
    assert braing3n("site", "accept", site, enrolled(site, other), "--yes")[0] == 0
    again, out, err = braing3n("site", "check", site, "--json")
    assert (again, json.loads(out)) == (code, json.loads(before))
    assert "warning: the CA of consortium other holds for 19 days" in err
    assert braing3n("site", "accept", site, enrolled(site, consortium()), "--yes", "--replace")[0] == 0
    err = braing3n("site", "check", site)[2]
    assert "the CA of consortium demo holds for 3649 days" in err
    assert "warning: the CA" not in err
    answer = site.parent / "state/network/answer.json"
    answer.write_text(answer.read_text().replace("fl.example", "fl.exbmple"))
    code, _, err = braing3n("site", "check", site)
    assert code == 2
    assert "was edited" in err


def test_a_ca_file_that_is_not_the_answers_is_told(hospital, consortium, enrolled, braing3n):
    site = hospital()
    braing3n("site", "keygen", site)
    answer = enrolled(site, consortium())
    with pytest.raises(ConfigError, match="has joined no consortium"):
        load_enrolled(load_site_config(site), datetime.now(UTC))
    braing3n("site", "accept", site, answer, "--yes")
    authority = site.parent / "state/network/ca.crt"
    whole = authority.read_text()
    for content in ("", whole + whole, "\xff"):
        authority.write_bytes(content.encode("latin-1"))
        with pytest.raises(ConfigError, match="not the CA of the answer"):
            load_enrolled(load_site_config(site), datetime.now(UTC))
    assert braing3n("site", "accept", site, answer, "--yes", "--replace")[0] == 0
    assert authority.read_text() == whole
    assert read_answer(site.parent / "state/network/answer.json", datetime.now(UTC)) == read_answer(
        answer, datetime.now(UTC))
    assert answer.read_text() == render(read_answer(answer, datetime.now(UTC)))


COMMENTS = [line.strip() for line in EXAMPLE.read_text().splitlines() if line.strip().startswith("#")]


@pytest.mark.parametrize("epsilon", ["0", "3.5", "1e-3"])
def test_settings_have_what_was_given_and_every_comment_of_the_example(tmp_path, braing3n, epsilon):
    (tmp_path / "data").mkdir()
    out = tmp_path / "site.yaml"
    code, said, _ = braing3n(
        "site", "init", out, "--name", "null", "--folder", tmp_path / "data", "--state-dir",
        "my: state #1", "--epsilon", epsilon, "--device", "cuda", "--threads", "7")
    assert code == 0
    assert f"written: {out}" in said
    config = load_site_config(out)
    assert (config.name, config.device, config.threads) == ("null", "cuda", 7)
    assert config.data.folder == tmp_path / "data"
    assert config.state_dir == tmp_path / "my: state #1"
    assert (config.budget.epsilon if config.budget else 0) == float(epsilon)
    written = [line.strip() for line in out.read_text().splitlines()]
    assert [line for line in COMMENTS if line not in written] == []
    if epsilon == "0":
        assert "# epsilon: 8.0" in written  # what a budget would say stays as comments
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_without_options_each_thing_is_asked_for(tmp_path, braing3n):
    (tmp_path / "data").mkdir()
    (tmp_path / "scans.csv").write_text("subject,path\n")
    for name, source in (("a", "data"), ("b", "scans.csv")):
        code, _, err = braing3n("site", "init", tmp_path / f"{name}.yaml",
                                typed=f"{name}\n{source}\nstate\n8\n")
        assert code == 0, err
        assert "Where the scans are" in err
        config = load_site_config(tmp_path / f"{name}.yaml")
        assert config.name == name
        assert (config.data.folder or config.data.table) == tmp_path / source
        assert config.budget.epsilon == 8.0


@pytest.mark.parametrize(("change", "told"), [
    ({"--name": "Hospital A"}, "small letters"), ({"--folder": "nowhere"}, "nothing at"),
    ({"--epsilon": "-1"}, "budget.epsilon"), ({"--epsilon": "nan"}, "epsilon"),
    ({"--table": "t.csv"}, "named twice"), ({"--state-dir": "data"}, "no folder of the site's own"),
    ({"--folder": "da\x07ta"}, "site.yaml"), ({"--name": None}, "not all was answered")])
def test_settings_that_would_be_wrong_are_not_written(tmp_path, braing3n, change, told):
    (tmp_path / "data").mkdir()
    given = {"--name": "a", "--folder": "data", "--state-dir": "state", "--epsilon": "8", **change}
    options = [part for key, value in given.items() if value is not None for part in (key, value)]
    code, _, err = braing3n("site", "init", tmp_path / "site.yaml", *options)
    assert code == 2
    assert told in err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_settings_are_not_overwritten(tmp_path, braing3n):
    (tmp_path / "site.yaml").write_text("mine")
    code, _, err = braing3n("site", "init", tmp_path / "site.yaml")
    assert code == 2
    assert "is taken" in err
    with pytest.raises(ConfigError, match="is taken"):  # also if it came while questions were answered
        write_settings(tmp_path / "site.yaml", Wanted("a", ".", None, "state", 8.0))
    assert (tmp_path / "site.yaml").read_text() == "mine"


def test_the_example_is_the_one_that_is_shipped():
    assert example() == EXAMPLE.read_text()
