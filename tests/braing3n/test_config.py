from pathlib import Path

import pytest
import yaml

from braing3n.config import load_site_config
from braing3n.errors import ConfigError


def write(folder: Path, **change: object) -> Path:
    (folder / "bids").mkdir(exist_ok=True)
    content = {"name": "site-a", "data": {"folder": "bids"}, "state_dir": "state", **change}
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_site_config(write(tmp_path))
    assert config.data.folder == tmp_path.resolve() / "bids"
    assert config.state_dir == tmp_path.resolve() / "state"


@pytest.mark.parametrize("change", [
    {"name": "Site A"}, {"name": "../x"}, {"threads": 0}, {"device": "tpu"}, {"epsilon": 1},
    {"data": {}}, {"data": {"folder": "bids", "table": "t.csv"}}, {"data": {"folder": "absent"}},
    {"data": {"folder": "bids", "held_out": 1.0}}, {"data": {"table": "bids"}},
    {"data": {"folder": "site.yaml"}}, {"state_dir": "site.yaml"}, {"state_dir": "bids"},
    {"data": {"folder": "bids", "held_out": 0.6, "test": 0.4}}, {"cache": {"limit_gb": 0}},
    {"cache": {"encrypt": True}}, {"cache": {"key_file": "key"}},
    {"cache": {"encrypt": True, "key_file": "state/../state/key"}},
])
def test_a_mistake_in_a_site_file_is_refused(tmp_path: Path, change: dict) -> None:
    with pytest.raises(ConfigError):
        load_site_config(write(tmp_path, **change))


def test_the_caches_key_is_named_relative_to_the_file_and_lies_outside_the_state(
    tmp_path: Path
) -> None:
    config = load_site_config(write(tmp_path, cache={"encrypt": True, "key_file": "state.key"}))
    assert config.cache.key_file == tmp_path.resolve() / "state.key"
    assert load_site_config(write(tmp_path)).cache.key_file is None


def test_the_shipped_example_loads(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "site_configs" / "example.yaml"
    text = example.read_text().replace("/data/brain-mri-bids", str(tmp_path))
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert load_site_config(path).name == "hospital-a"


def test_model_and_template_are_named_relative_to_the_file(tmp_path: Path) -> None:
    tools = {"skull_strip": "hd-bet", "hd_bet_model": "model", "registration": "affine",
             "template": "brains/t1.nii.gz"}
    config = load_site_config(write(tmp_path, preprocessing=tools)).preprocessing
    assert config.hd_bet_model == tmp_path.resolve() / "model"
    assert config.template == tmp_path.resolve() / "brains/t1.nii.gz"
    assert load_site_config(write(tmp_path)).preprocessing.template is None


@pytest.mark.parametrize("tools", [
    {"bias_field": "n3"}, {"skull_strip": "hd-bet"}, {"hd_bet_model": "model"},
    {"registration": "affine"}, {"registration": "rigid", "template": "t.nii"}, {"check": "no"},
])
def test_a_tool_without_what_it_needs_is_refused(tmp_path: Path, tools: dict) -> None:
    with pytest.raises(ConfigError):
        load_site_config(write(tmp_path, preprocessing=tools))


@pytest.mark.parametrize("choice", [{"modalities": []}, {"modalities": ["PD"]},
                                    {"per_visit": "first"}])
def test_a_choice_of_scans_that_is_not_known_is_refused(tmp_path: Path, choice: dict) -> None:
    with pytest.raises(ConfigError):
        load_site_config(write(tmp_path, data={"folder": "bids", **choice}))


@pytest.mark.parametrize(("change", "words"), [
    ({"name": "Hospital A"}, ["1 mistake", "1 to 40 small letters, digits and hyphens"]),
    ({"data": {"folder": "d", "held_out": 20}}, ["1 mistake", "less than 1: a share, such as 0.2"]),
    ({"data": {"folder": "d", "modalities": ["T1"]}}, ["1 mistake", "did you mean `T1w`?"]),
    ({"preprocessing": {"skull_strip": "hd-bet"}}, ["no `preprocessing.hd_bet_model`"]),
])
def test_a_mistake_is_told_once_and_in_words_that_lead_on(tmp_path, change, words) -> None:
    (tmp_path / "d").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "data": {"folder": "d"}, "state_dir": "s", **change}))
    with pytest.raises(ConfigError) as caught:
        load_site_config(path)
    assert all(word in str(caught.value) for word in words), str(caught.value)


BOTH = {"folder": "bids", "table": "t.csv"}


@pytest.mark.parametrize(("change", "expected", "found", "fix"), [
    ({"data": {}}, "`data.folder`: exactly one of `folder` and `table`", "no `data.folder`", "data:"),
    ({"data": BOTH}, "`data.table`: exactly one of `folder` and `table`", "`data.table: t.csv`",
     "data:"),
    ({"data": {"folder": "bids", "held_out": 0.6, "test": 0.4}},
     "`data.test`: below 1 together with `held_out: 0.6`", "`data.test: 0.4`", "smaller"),
    ({"cache": {"encrypt": True}}, "`cache.key_file`: a file with the key", "no `cache.key_file`",
     "name a `key_file`"),
    ({"cache": {"key_file": "key"}}, "`cache.encrypt`: true", "`cache.encrypt: False` (its default)",
     "write `encrypt: true`"),
    ({"preprocessing": {"skull_strip": "hd-bet"}}, "`preprocessing.hd_bet_model`: the folder",
     "no `preprocessing.hd_bet_model`", "name `hd_bet_model`"),
    ({"preprocessing": {"hd_bet_model": "m"}}, "`preprocessing.skull_strip`: `hd-bet`",
     "`preprocessing.skull_strip: none` (its default)", "write `skull_strip: hd-bet`"),
    ({"preprocessing": {"registration": "affine"}}, "`preprocessing.template`: a stripped brain",
     "no `preprocessing.template`", "name a `template`"),
])
def test_keys_that_do_not_fit_each_other_are_named(
    tmp_path: Path, change: dict, expected: str, found: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match="1 mistake") as caught:
        load_site_config(write(tmp_path, **change))
    assert caught.value.expected.startswith(expected)
    assert caught.value.found == found
    assert fix in caught.value.fix


def test_two_rules_that_are_broken_are_told_at_once(tmp_path: Path) -> None:
    data = {**BOTH, "held_out": 0.6, "test": 0.4}
    with pytest.raises(ConfigError, match="3 mistakes") as caught:
        load_site_config(write(tmp_path, data=data, cache={"encrypt": True}))
    for key in ("`data.table`", "`data.test`", "`cache.key_file`"):
        assert key in caught.value.expected
