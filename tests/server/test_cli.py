"""`braing3n server`: a coordinator's folder, and what is decided there."""

import io
import json
import ssl
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.verification import PolicyBuilder, Store
from flwr.supercore.auth.superexec_secret import load_superexec_auth_secret

from braing3n import cli
from braing3n.enrolment.answer import read_answer
from braing3n.enrolment.certificates import new_key
from braing3n.enrolment.request import make_request, read_request
from braing3n.enrolment.roster import begin_roster
from braing3n.enrolment.signed_files import write_signed
from braing3n.errors import ConfigError
from braing3n.signing import SigningKey, load_public_key
from server import enrolling
from server.authority import initialise, load_authority, load_server_certificate
from server.consortium import load_consortium

PRIVATE = {"ca.crt", "ca.key", "coordinator.key", "roster.jsonl", "server.crt", "server.key",
           "superexec.secret"}


@pytest.fixture
def braing3n(monkeypatch, capsys):
    """Run the program as a shell would, and return its exit code, stdout and stderr."""

    groups = list(cli.app.registered_groups)

    def run(*arguments):
        # `main` adds groups each time, and a shell starts it once.
        monkeypatch.setattr(cli.app, "registered_groups", list(groups))
        monkeypatch.setattr(sys, "argv", ["braing3n", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def settings(tmp_path):
    return write(tmp_path / "consortium.yaml")


@pytest.fixture
def consortium(settings):
    initialise(load_consortium(settings), datetime.now(UTC))
    return settings


@pytest.fixture
def site(tmp_path):
    """Write a request of a site, whose keys stay the same as long as it is not said otherwise."""
    keys = {}

    def request(name="hospital-a", file=None, node=None, ledger=None, now=None):
        own = keys.setdefault(name, (new_key(), SigningKey(Ed25519PrivateKey.generate())))
        path = tmp_path / (file or f"{name}.request.json")
        write_signed(path, make_request(name, node_key=node or own[0], ledger_key=ledger or own[1],
                                        version="0.1.0", now=now or datetime.now(UTC)))
        return path

    return request


def write(path, **change):
    path.write_text(yaml.safe_dump({"name": "demo", "names": ["fl.example.org", "10.0.0.5", "::1"],
                                    "port": 9443, "state_dir": "state", **change}))
    return path


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_init_makes_a_ca_a_certificate_keys_and_an_empty_roster_for_its_owner_alone(
        settings, tmp_path, braing3n):
    code, out, err = braing3n("server", "init", settings)
    assert (code, err) == (0, "")
    assert "fl.example.org:9443, 10.0.0.5:9443, [::1]:9443" in out
    state = tmp_path / "state"
    assert mode(state) == 0o700
    assert {path.name for path in state.iterdir()} == PRIVATE | {"coordinator.pub"}
    assert {name: mode(state / name) for name in PRIVATE} == dict.fromkeys(PRIVATE, 0o600)
    secret = load_superexec_auth_secret(str(state / "superexec.secret"))  # as Flower reads it
    assert len(secret) == 64
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(state / "server.crt", state / "server.key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["consortium.yaml", "state"]
    assert b"PRIVATE" in (state / "ca.key").read_bytes()
    assert "PRIVATE" not in out


def test_the_chain_holds_for_the_names_of_the_settings(consortium):
    config = load_consortium(consortium)
    verifier = PolicyBuilder().store(Store([load_authority(config)])).build_server_verifier(
        x509.DNSName("fl.example.org"))
    verifier.verify(load_server_certificate(config), [])


def test_a_second_init_overwrites_nothing_and_says_what_is_there(consortium, tmp_path, braing3n):
    before = contents(tmp_path / "state")
    code, out, err = braing3n("server", "init", consortium)
    assert (code, out) == (2, "")
    assert "ca.crt, ca.key, coordinator.key" in err
    assert "braing3n server renew" in err
    assert contents(tmp_path / "state") == before


@pytest.mark.parametrize("kind", ["file", "link", "foreign file"])
def test_init_takes_no_place_that_is_something_else(settings, tmp_path, braing3n, kind):
    state = tmp_path / "state"
    if kind == "file":
        state.touch()
    elif kind == "link":
        state.symlink_to(tmp_path / "elsewhere")
    else:
        state.mkdir()
        (state / "thesis.docx").touch()
    code, _, err = braing3n("server", "init", settings)
    assert code == 2
    assert "is taken" in err
    assert not (tmp_path / "elsewhere").exists()


def test_init_that_fails_leaves_nothing(settings, tmp_path, monkeypatch, braing3n):
    def full(*_):
        raise ConfigError("no room", expected="room", found="none", fix="make room")

    monkeypatch.setattr("server.authority.begin_roster", full)
    assert braing3n("server", "init", settings)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["consortium.yaml"]
    monkeypatch.undo()
    (tmp_path / "state").mkdir()  # empty, as a package or a person may have made it
    initialise(load_consortium(settings), datetime.now(UTC))
    assert mode(tmp_path / "state") == 0o700


def test_of_two_inits_at_once_one_is_refused(settings, tmp_path, monkeypatch, braing3n):
    real = begin_roster

    def after_another(*given):
        (tmp_path / "state").mkdir()
        (tmp_path / "state/ca.key").touch()
        return real(*given)

    monkeypatch.setattr("server.authority.begin_roster", after_another)
    code, _, err = braing3n("server", "init", settings)
    assert code == 2
    assert "cannot be made" in err
    assert contents(tmp_path / "state") == {"ca.key": b""}


@pytest.mark.parametrize(("change", "told"), [
    ({"names": []}, "names"), ({"names": ["FL.example.org"]}, "small letters"),
    ({"names": ["*.example.org"]}, "DNS name"), ({"names": ["a..b"]}, "DNS name"),
    ({"names": ["-a.org"]}, "DNS name"), ({"names": ["0.0.0.0"]}, "others can reach"),
    ({"names": ["0::1"]}, "as short as it goes"), ({"names": ["300.1.1.1"]}, "DNS name"),
    ({"names": ["a.org"] * 9}, "names"), ({"names": ["a.org\n"]}, "DNS name"),
    ({"port": 0}, "port"), ({"port": "9443"}, "port"), ({"valid_days": 826}, "valid_days"),
    ({"name": "Demo"}, "name"), ({"more": 1}, "no key `more`")])
def test_wrong_settings_are_told(tmp_path, braing3n, change, told):
    code, _, err = braing3n("server", "init", write(tmp_path / "c.yaml", **change))
    assert code == 2
    assert told in err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", [("renew",), ("roster",), ("enrol", "r.json"), ("answer", "a"),
                                     ("revoke", "a")])
def test_without_init_every_command_says_so(settings, braing3n, command):
    code, _, err = braing3n("server", command[0], settings, *command[1:])
    assert code == 2
    assert "server init" in err


@pytest.mark.parametrize("lost", ["ca.key", "coordinator.key", "roster.jsonl"])
def test_a_file_that_is_gone_is_told_and_not_made_anew(consortium, tmp_path, site, braing3n, lost):
    (tmp_path / "state" / lost).unlink()
    code, _, err = braing3n("server", "enrol", consortium, site(), "--yes")
    assert code == 2
    assert f"no {lost}" in err
    assert not (tmp_path / "state" / lost).exists()


def test_a_key_that_others_may_read_is_refused(consortium, tmp_path, site, braing3n):
    (tmp_path / "state/coordinator.key").chmod(0o644)
    code, _, err = braing3n("server", "enrol", consortium, site(), "--yes")
    assert code == 2
    assert "open to others" in err


def test_enrol_writes_roster_and_answer_and_roster_lists_the_site(consortium, tmp_path, site, braing3n):
    code, out, _ = braing3n("server", "enrol", consortium, site(), "--yes")
    assert code == 0
    answer = read_answer(tmp_path / "hospital-a.answer.json", datetime.now(UTC))
    assert answer.entry.site == "hospital-a"
    assert answer.addresses == ("fl.example.org:9443", "10.0.0.5:9443", "[::1]:9443")
    assert answer.coordinator_key == load_public_key(tmp_path / "state/coordinator.pub").text
    assert all(word in out for word in answer.words.split())
    code, out, err = braing3n("server", "roster", consortium, "--json")
    listed = json.loads(out)
    assert (code, err) == (0, "")
    assert listed["words"] == answer.words
    assert [(one["site"], one["enrolled"]) for one in listed["sites"]] == [("hospital-a", True)]
    assert listed["certificates"]["server"]["days_left"] == 364
    code, out, _ = braing3n("server", "roster", consortium)
    assert "hospital-a           enrolled" in out
    assert "decisions so far: 2" in out


def test_words_are_compared_and_wrong_ones_end_with_2_and_change_nothing(consortium, tmp_path, site,
                                                                        braing3n):
    request = site()
    _, out, _ = braing3n("server", "enrol", consortium, request, "--words", "abandon " * 12)
    before = contents(tmp_path / "state")
    said = out.partition("words of hospital-a:")[2].split()
    words = " ".join(word for word in said if word.isalpha())
    code, _, err = braing3n("server", "enrol", consortium, request, "--words", "abandon " * 12)
    assert code == 2
    assert "not the words of hospital-a" in err
    assert contents(tmp_path / "state") == before
    assert not (tmp_path / "hospital-a.answer.json").exists()
    code, out, _ = braing3n("server", "enrol", consortium, request, "--words", words.upper())
    assert code == 0
    assert "enrolled: hospital-a" in out


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1)])
def test_without_words_a_person_is_asked(
        consortium, tmp_path, site, braing3n, monkeypatch, typed, code):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert braing3n("server", "enrol", consortium, site(), "--json")[0] == code
    assert (tmp_path / "hospital-a.answer.json").exists() == (code == 0)
    assert len(enrolling.load_roster(load_consortium(consortium)).sites) == 1 - code


def test_a_taken_or_revoked_name_or_key_is_refused(consortium, tmp_path, site, braing3n):
    assert braing3n("server", "enrol", consortium, site(), "--yes")[0] == 0
    before = contents(tmp_path / "state")
    stolen = new_key(), SigningKey(Ed25519PrivateKey.generate())
    same_name = site(file="same.json", node=stolen[0], ledger=stolen[1])
    code, _, err = braing3n("server", "enrol", consortium, same_name, "--yes")
    assert code == 2
    assert "the name hospital-a is taken" in err
    assert contents(tmp_path / "state") == before
    code, out, _ = braing3n("server", "revoke", consortium, "hospital-a", "--yes")
    assert code == 0
    assert "revoked: hospital-a" in out
    code, _, err = braing3n("server", "enrol", consortium, same_name, "--yes")
    assert code == 2
    assert "the name hospital-a was revoked" in err
    assert "REVOKED" in braing3n("server", "roster", consortium)[1]
    for command in ("revoke", "answer"):
        code, _, err = braing3n("server", command, consortium, "hospital-a")
        assert code == 2
        assert "one that was revoked on" in err


def test_the_same_site_gets_a_new_supernode_key_and_its_old_one_never_comes_back(
        consortium, tmp_path, site, braing3n):
    first = site()
    assert braing3n("server", "enrol", consortium, first, "--yes")[0] == 0
    fresh = site(file="fresh.json", node=new_key())
    code, _, err = braing3n("server", "enrol", consortium, fresh, "--yes")
    assert code == 2
    assert "--replace-key" in err
    out = tmp_path / "fresh.answer.json"
    assert braing3n("server", "enrol", consortium, fresh, "--yes", "--replace-key",
                    "--out", out)[0] == 0
    assert read_answer(out, datetime.now(UTC)).seq == 2
    again = site(file="again.json")
    code, _, err = braing3n("server", "enrol", consortium, again, "--yes", "--replace-key",
                            "--out", tmp_path / "x")
    assert code == 2
    assert "SuperNode's key is that of hospital-a" in err
    another = SigningKey(Ed25519PrivateKey.generate())
    forged = site(file="forged.json", node=new_key(), ledger=another)
    code, _, err = braing3n("server", "enrol", consortium, forged, "--yes", "--replace-key")
    assert code == 2
    assert "not from the ledger of hospital-a" in err


def test_an_answer_is_not_overwritten_and_can_be_written_again(consortium, tmp_path, site, braing3n):
    request, out = site(), tmp_path / "hospital-a.answer.json"
    out.touch()
    code, _, err = braing3n("server", "enrol", consortium, request, "--yes")
    assert code == 2
    assert "is taken" in err
    assert enrolling.load_roster(load_consortium(consortium)).sites == {}
    out.unlink()
    assert braing3n("server", "enrol", consortium, request, "--yes")[0] == 0
    code, _, err = braing3n("server", "enrol", consortium, request, "--yes")
    assert code == 2
    assert "server answer" in err
    again = tmp_path / "again.json"
    assert braing3n("server", "answer", consortium, "hospital-a", "--out", again)[0] == 0
    now = datetime.now(UTC)
    assert read_answer(again, now).entry == read_answer(out, now).entry
    assert braing3n("server", "answer", consortium, "../evil", "--out", again)[0] == 2


def test_a_place_that_cannot_be_written_leaves_the_roster_as_it_was(
        consortium, tmp_path, site, braing3n):
    (tmp_path / "file").touch()
    for place in ("file/answer.json", "a" * 240):  # the second fails only when it is written
        code, _, err = braing3n("server", "enrol", consortium, site(), "--yes", "--out",
                                tmp_path / place)
        assert code == 2
        assert "cannot be written" in err
    assert enrolling.load_roster(load_consortium(consortium)).sites == {}


def test_a_roster_that_cannot_be_written_leaves_no_answer(consortium, tmp_path, site, braing3n,
                                                          monkeypatch):
    def full(*_):
        raise ConfigError("no room", expected="room", found="none", fix="make room")

    request = site()
    monkeypatch.setattr(enrolling, "write_private", full)
    assert braing3n("server", "enrol", consortium, request, "--yes")[0] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"consortium.yaml", "state", request.name}


def test_a_damaged_roster_is_told(consortium, tmp_path, site, braing3n):
    assert braing3n("server", "enrol", consortium, site(), "--yes")[0] == 0
    path = tmp_path / "state/roster.jsonl"
    whole = path.read_bytes()
    for damaged in (whole.replace(b"hospital-a", b"hospital-x"), whole[:-1], whole + b"\n", b"",
                    whole.splitlines(keepends=True)[1]):
        path.write_bytes(damaged)
        code, _, err = braing3n("server", "roster", consortium)
        assert code == 2
        assert "roster" in err
    path.write_bytes(whole)
    assert braing3n("server", "roster", consortium)[0] == 0


def test_another_consortium_s_roster_or_name_is_told(consortium, tmp_path, braing3n):
    other = write(tmp_path / "other.yaml", name="other")
    code, _, err = braing3n("server", "roster", other)
    assert code == 2
    assert "of another consortium" in err
    second = write(tmp_path / "second.yaml", state_dir="second")
    initialise(load_consortium(second), datetime.now(UTC))
    (tmp_path / "state/ca.crt").write_bytes((tmp_path / "second/ca.crt").read_bytes())
    assert "of another consortium" in braing3n("server", "roster", consortium)[2]


def test_renew_makes_a_new_certificate_by_the_same_ca_and_touches_nothing_else(
        consortium, tmp_path, braing3n):
    before = contents(tmp_path / "state")
    write(consortium, names=["new.example.org"], valid_days=30)
    code, _, err = braing3n("server", "roster", consortium)
    assert code == 2
    assert "for other names" in err
    code, out, err = braing3n("server", "renew", consortium)
    assert (code, err) == (0, "")
    assert "warning: the server's certificate holds for 29 days" in out
    after = contents(tmp_path / "state")
    assert {name for name in after if after[name] != before.get(name)} == {"server.crt"}
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        tmp_path / "state/server.crt", tmp_path / "state/server.key")
    code, out, err = braing3n("server", "roster", consortium, "--json")
    assert "warning: the server's certificate" in err
    assert json.loads(out)["certificates"]["server"]["days_left"] == 29


def test_a_lost_server_key_is_made_anew_and_another_ca_key_is_refused(consortium, tmp_path, braing3n):
    state = tmp_path / "state"
    (state / "server.key").unlink()
    (state / "server.crt").unlink()
    assert "server renew" in braing3n("server", "roster", consortium)[2]
    assert braing3n("server", "renew", consortium)[0] == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(state / "server.crt", state / "server.key")
    (state / "ca.key").write_bytes((state / "server.key").read_bytes())
    code, _, err = braing3n("server", "renew", consortium)
    assert code == 2
    assert "is not the key of" in err


def test_expired_certificates_are_told(settings, tmp_path, site, braing3n):
    now = datetime.now(UTC)
    initialise(load_consortium(settings), now - timedelta(days=366))
    assert "warning: the server's certificate has expired" in braing3n("server", "roster", settings)[1]
    code, _, err = braing3n("server", "enrol", settings, site(), "--yes")
    assert code == 2
    assert "the server's certificate has expired" in err
    assert not (tmp_path / "hospital-a.answer.json").exists()
    assert braing3n("server", "renew", settings)[0] == 0
    assert braing3n("server", "enrol", settings, site(), "--yes")[0] == 0
    old = write(tmp_path / "old.yaml", state_dir="old")
    initialise(load_consortium(old), now - timedelta(days=3651))
    for command in (("renew", old), ("enrol", old, site("hospital-b"), "--yes")):
        code, _, err = braing3n("server", *command)
        assert code == 2
        assert "the CA's certificate has expired" in err


def test_a_request_by_a_clock_that_is_ahead_and_an_old_one_are_refused(consortium, site, braing3n):
    now = datetime.now(UTC)
    for made, told in ((now + timedelta(hours=1), "in the future"),
                       (now - timedelta(days=31), "too old")):
        code, _, err = braing3n("server", "enrol", consortium, site(now=made), "--yes")
        assert code == 2
        assert told in err


def test_who_decides_waits_for_who_decides(consortium, tmp_path, site):
    """Two coordinators at once: both sites are enrolled, one after the other."""
    config, now = load_consortium(consortium), datetime.now(UTC)
    names = [f"hospital-{letter}" for letter in "abcdef"]

    def enrol(name):
        entry = enrolling.check_enrolment(config, read_request(paths[name], now), replaces_key=False)
        enrolling.enrol(config, entry, tmp_path / f"{name}.answer", now, replaces_key=False)

    paths = {name: site(name) for name in names}
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enrol, names))
    roster = enrolling.load_roster(config)
    assert sorted(roster.sites) == names
    assert sorted(one.seq for one in roster.sites.values()) == [1, 2, 3, 4, 5, 6]
