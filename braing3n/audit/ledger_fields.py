"""Which fields an entry of a ledger has, and what each may hold; as `ledger_line` checks them."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Check = Callable[[Any], bool]

# Beyond these nothing means anything, and floating point gives up.
MAX_NOISE, MIN_DELTA = 1e4, 1e-10


def _text(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: type(value) is str and compiled.fullmatch(value) is not None


def _one_of(*words: str) -> Check:
    return lambda value: type(value) is str and value in words


def _whole(least: int) -> Check:
    return lambda value: type(value) is int and least <= value <= 2**53


def _real(above: float, most: float = math.inf, *, also_above: bool = False) -> Check:
    return lambda value: type(value) is float and (
        above <= value if also_above else above < value) and value <= most and math.isfinite(value)


def _is_time(value: Any) -> bool:
    try:
        return _TIME(value) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


_TIME = _text(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z")
_DIGEST, _SIGNATURE = _text("[0-9a-f]{64}"), _text("[0-9a-f]{128}")
_WORD, _NUMBER = "[a-z][a-z_]{0,23}", r"-?[0-9]{1,9}(\.[0-9]{1,17})?(e[+-]?[0-9]{1,3})?"
_POSITIVE, _COUNT, _DELTA = _real(0), _whole(1), _real(MIN_DELTA, also_above=True)
_MECHANISM: Mapping[str, Check] = {
    "name": _one_of("poisson_gaussian", "gaussian"), "sample_rate": _real(0, 1),
    "noise_multiplier": _real(0, MAX_NOISE), "steps": _COUNT, "clip_norm": _POSITIVE,
    "unit": _one_of("subject"), "num_subjects": _COUNT, "views": _COUNT,
    "engine": _one_of("loop", "bookkeeping", "opacus")}
_SPENT: Mapping[str, Check] = {
    "pld": _real(0, also_above=True), "rdp": _real(0, also_above=True),
    "prv": _real(0, also_above=True), "delta": lambda value: _DELTA(value) and value < 1}
_ENTRY: Mapping[str, Check] = {
    "seq": _whole(0), "prev": _DIGEST, "time": _is_time, "key_id": _DIGEST, "signature": _SIGNATURE,
    "kind": _one_of("reserve", "settle", "refuse", "note"),
    "run": _text("[A-Za-z0-9][A-Za-z0-9_-]{0,79}"),
    "stage": _one_of("pretrain", "decoder", "diffusion"), "round_index": _whole(0),
    "cohort": _text("[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "what": _one_of("update", "moments", "metrics", "counts"),
    "mechanism": lambda value: type(value) is dict, "spent": lambda value: type(value) is dict,
    "plan_digest": _DIGEST, "weights_digest": _DIGEST, "reserves": _whole(0),
    "released_digest": _DIGEST, "code": _text("[a-z][a-z_]{0,31}"),
    "detail": _text(rf"{_WORD}( ({_WORD}|{_NUMBER})){{0,11}}")}
_ALWAYS = frozenset({"seq", "prev", "time", "kind", "key_id", "signature"})
_WORK = frozenset({"run", "stage", "round_index", "cohort"})
_COST = _WORK | {"what", "mechanism", "spent", "plan_digest"}
_NEEDED = {"reserve": _COST, "settle": _COST | {"reserves", "released_digest"},
           "refuse": _WORK | {"code"}, "note": frozenset({"code"})}
_ALLOWED = {
    "reserve": frozenset({"weights_digest"}), "settle": frozenset({"weights_digest"}),
    "refuse": frozenset({"what", "mechanism", "plan_digest", "weights_digest", "detail"}),
    "note": _WORK | {"what", "plan_digest", "weights_digest", "spent", "released_digest", "detail"}}


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check an entry's fields, all but what is inside of `mechanism` and `spent`.

    Raises:
        ValueError: Some are wrong or missing; says which, with nothing of their content.
    """
    _check("field", fields, _ENTRY)
    _check_kind(fields)


def check_mechanism(fields: Mapping[str, Any]) -> None:
    """Check how something was noised.

    Raises:
        ValueError: As `check_fields`.
    """
    _check("parameter", fields, _MECHANISM)
    is_training = fields.get("name") == "poisson_gaussian"
    needed = {"name", "sample_rate", "noise_multiplier", "steps", "clip_norm", "unit", "num_subjects"}
    lacking = (needed | ({"views", "engine"} if is_training else set())) - fields.keys()
    if lacking:
        raise ValueError(f"lacks {' and '.join(sorted(lacking))} of its mechanism")
    if not is_training and fields["sample_rate"] != 1:
        raise ValueError("has a sample rate where everybody takes part")


def check_spent(fields: Mapping[str, Any]) -> None:
    """Check what is claimed to have been spent.

    Raises:
        ValueError: As `check_fields`.
    """
    _check("number", fields, _SPENT)
    if not {"pld", "rdp", "delta"} <= fields.keys():
        raise ValueError("lacks a number of what was spent")


def _check_kind(fields: Mapping[str, Any]) -> None:
    if "kind" not in fields:
        raise ValueError("lacks its kind")
    kind, given = fields["kind"], fields.keys()
    needed = _NEEDED[kind] | _ALWAYS
    if kind == "note" and fields.get("code") == "without_dp":
        needed = needed | _WORK
    if needed - given:
        raise ValueError(f"lacks {' and '.join(sorted(needed - given))}")
    if given - needed - _ALLOWED[kind]:
        raise ValueError("has fields that its kind does not have")


def _check(what: str, fields: Mapping[str, Any], rules: Mapping[str, Check]) -> None:
    for name, value in fields.items():
        rule = rules.get(name)
        if rule is None:
            raise ValueError(f"has a {what} of an unknown name")
        if not rule(value):
            raise ValueError(f"has another {name} than there can be")
