"""One way from a YAML file to a checked, frozen object, with every mistake told at once."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from braing3n.errors import ConfigError

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StrictModel(BaseModel):
    """A configuration object: frozen, no unknown keys, no coercion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LenientModel(BaseModel):
    """A part of a file that another version may have written: unknown keys are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Model = TypeVar("Model", bound=StrictModel)
# The kind of pydantic's errors that `misfit` makes.
_MISFIT = "misfit"


def misfit(model: BaseModel, mistakes: Mapping[str, tuple[str, str]]) -> ValidationError:
    """Return what a whole-model validator raises where keys do not fit each other: one error a key.

    Raised inside a validator, pydantic puts the path of the section before each key.

    Args:
        model: What was read; what was found at a key is taken from it.
        mistakes: For each key, with dots below the model (`release.counts`): what was expected of it,
            and what to do.
    """
    errors: list[InitErrorDetails] = []
    for key, (expected, fix) in mistakes.items():
        value, is_given = _found_at(model, key)
        told = {"expected": expected, "fix": fix, "note": "" if is_given else " (its default)"}
        errors.append(InitErrorDetails(type=PydanticCustomError(_MISFIT, "{expected}", told),
                                       loc=tuple(key.split(".")), input=value))
    return ValidationError.from_exception_data(type(model).__name__, errors)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key given twice and reads `1e-5` as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float):
                raise yaml.MarkedYAMLError(problem="a key is not a word or a number",
                                           problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key `{key}` is given twice",
                                           problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 takes `1e-5` for text because it lacks a dot; people who write plans do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: The file is missing, is not YAML, gives a key twice, or is not a mapping.
    """
    expected = "a readable YAML file with `key: value` lines"
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.load(text, Loader=_Loader)  # noqa: S506  # _Loader is a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", expected=expected,
                          found=error.strerror or "an unreadable file",
                          fix="name a file in it" if path.is_dir() else
                          "check the path and its permissions") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "text that is not UTF-8 YAML"
        raise ConfigError(f"{path} is not valid YAML{where}", expected=expected, found=problem,
                          fix="mend that line") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings", expected=expected,
                          found="an empty file" if content is None else type(content).__name__,
                          fix="write one `key: value` a line")
    return content


def parse(model: type[Model], content: dict[str, Any], source: str) -> Model:
    """Check `content` against `model` and return the object.

    Args:
        model: The kind of configuration.
        content: What was read, as plain Python values.
        source: Where it came from, for messages.

    Raises:
        ConfigError: With one line for every mistake: its path, what was expected and found.
    """
    try:
        text = json.dumps(content, default=str)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} cannot be read", expected="plain settings",
                          found="a setting that contains itself", fix="write it out") from error
    try:
        # As JSON, because a tuple in a strict model is a list in YAML. NaN stays, and is refused.
        return model.model_validate_json(text)
    except ValidationError as error:
        details = _told_once(error.errors())
        lines = [_describe(model, detail) for detail in details]
        raise ConfigError(
            f"{source} has {len(lines)} mistake{'s' if len(lines) > 1 else ''}",
            expected=_listed([expected for expected, _ in lines]),
            found=_listed([found for _, found in lines]),
            fix=_fix(details),
        ) from error


def _describe(model: type[BaseModel], detail: ErrorDetails) -> tuple[str, str]:
    """Return (what was expected, what was found) for one of pydantic's errors."""
    path = ".".join(str(part) or "''" for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"one of {', '.join(sorted(known))}"
        return f"no key `{path}` ({hint})", f"`{path}: {_short(detail['input'])}`"
    if detail["type"] == "missing":
        return f"`{path}` is given", f"no `{path}`"
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if not path:  # of the whole, by a rule that names no key
        return message, _short(detail["input"])
    if detail["type"] == _MISFIT:
        found = f"`{path}: {_short(detail['input'])}`{detail['ctx']['note']}"
        return f"`{path}`: {message}", f"no `{path}`" if detail["input"] is None else found
    meant = _description(model, detail["loc"])
    if detail["type"] == "string_pattern_mismatch" and meant:
        message = meant
    elif meant:
        message += f": {meant}"
    if detail["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        close = difflib.get_close_matches(str(detail["input"]), choices, n=1, cutoff=0.4)
        message += f" (did you mean `{close[0]}`?)" if close else ""
    return f"`{path}`: {message}", f"`{path}: {_short(detail['input'])}`"


def _fix(details: list[ErrorDetails]) -> str:
    """Return what to do: what rules say of it, each once, and what holds for any mistake."""
    said = dict.fromkeys(detail["ctx"]["fix"] for detail in details if detail["type"] == _MISFIT)
    is_all = all(detail["type"] == _MISFIT for detail in details)
    return "; ".join([*said, "then run the command again" if is_all else
                      "mend these keys and run the command again"])


def _found_at(model: BaseModel, key: str) -> tuple[Any, bool]:
    """Return what a key holds, and whether that was given; else it is a default."""
    found, is_given = model, True
    for part in key.split("."):
        if isinstance(found, BaseModel):
            is_given = is_given and part in found.model_fields_set
            found = getattr(found, part)
        else:
            found = found[part]
    return list(found) if isinstance(found, tuple) else found, is_given


def _told_once(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what follows from a mistake inside, such as a list without its wrong item."""
    inner = [detail["loc"] for detail in details]
    return [detail for detail in details if not (detail["type"] == "too_short" and any(
        len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in inner))]


def _description(model: type[BaseModel], loc: tuple[int | str, ...]) -> str | None:
    """Return what the model says of a field in words, where it does."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        if field.description:
            return field.description
        model = _section(field, model)
    return None


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names that are known where `loc` points into `model`."""
    for part in loc:
        field = model.model_fields.get(str(part))
        model = model if field is None else _section(field, model)
    return list(model.model_fields)


def _section(field: FieldInfo, outer: type[BaseModel]) -> type[BaseModel]:
    """Return the model of a section, or the one that holds the field where it is none."""
    # An optional section is a union of its model and None.
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return outer


def _listed(items: list[str]) -> str:
    """Return one item as it is, and several with a number and a line each."""
    if len(items) == 1:
        return items[0]
    return "".join(f"\n    {number}. {item}" for number, item in enumerate(items, 1))


def _short(value: object) -> str:
    text = str(value)
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {'...' if isinstance(item, dict | list) else item}"
                               for key, item in value.items()) + "}"
    return text if len(text) <= 60 else text[:57] + "..."
