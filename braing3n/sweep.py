"""Single values of a plan, replaced on a command line: `seed=3 stages.pretrain.rounds=5`."""

from typing import Any

import yaml

from braing3n.errors import ConfigError


def apply_sweep(content: dict[str, Any], sweep: str) -> None:
    """Replace values in the mapping that a plan's YAML gave.

    Args:
        content: The mapping; it is changed.
        sweep: `key.path=value`, separated by blanks.

    Raises:
        ConfigError: A replacement is malformed, or goes through something that is no group.
    """
    for item in sweep.split():
        _replace(content, item)


def _replace(content: dict[str, Any], item: str) -> None:
    """Set one `key.path=value` in the nested mapping `content`."""
    keys, sign, text = item.partition("=")
    *parents, last = keys.split(".")
    place: Any = content
    for key in parents:
        # A group that the file leaves out has defaults; a wrong name is found with all mistakes.
        place = place.setdefault(key, {}) if isinstance(place, dict) else None
    if not sign or not isinstance(place, dict):
        raise ConfigError("a sweep cannot be applied to the plan",
                          expected="key.path=value, with keys that the plan has", found=item,
                          fix="write for example stages.pretrain.optimizer.learning_rate=1e-3")
    place[last] = _scalar(text)


def _scalar(text: str) -> Any:
    try:
        return float(text) if any(c in text for c in ".eE") else int(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
