"""The one form of files that people mail: JSON in ASCII, one key a line, bounded, signed."""

import json
import re
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, ValidationError

from braing3n.enrolment.private_files import is_there, unwritable
from braing3n.errors import ConfigError, ProtocolError
from braing3n.files import canonical_json, digest_bytes, write_text
from braing3n.moments import Moment
from braing3n.signing import PublicKey, SigningKey
from braing3n.yaml_files import StrictModel

Ed25519Key = Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{64}$", max_length=72)]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$", max_length=128)]
UNSIGNED = "0" * 128

_ASK_AGAIN = "ask who sent it to send it again, as an attachment, unopened by an editor"
_KINDS = {
    "braing3n-site-request-1": "a site's request (`braing3n site request`)",
    "braing3n-site-answer-1": "a coordinator's answer to a site (`braing3n server enrol`)",
}


class SignedFile(StrictModel):
    """What every such file has.

    Attributes:
        kind: What it is, with the version of its form. It is signed with the rest, so that no
            signature of one kind can stand in another.
        time: When it was made.
        signature: Of all other fields, by the key that the file names.
    """

    limit: ClassVar[int]

    kind: str
    time: Moment
    signature: Signature = UNSIGNED

    @property
    def digest(self) -> str:
        """What stands for the file."""
        return digest_bytes(canonical_json(self.model_dump(mode="json")))


File = TypeVar("File", bound=SignedFile)


def sign(unsigned: File, key: SigningKey) -> File:
    """Return the file with its signature."""
    return unsigned.model_copy(update={"signature": key.sign(_content(unsigned))})


def check_signature(file: SignedFile, key: str, whose: str) -> None:
    """Check that a file is signed by a key.

    Raises:
        ProtocolError: It was edited, or signed by another.
    """
    if not PublicKey.from_text(key).verify(_content(file), file.signature):
        raise ProtocolError("the file was edited, or is not from whom it says",
                            expected=f"a signature by {whose}, of every word in it",
                            found="a signature that does not fit",
                            fix="ask for it again, and do not use this one")


def write_signed(path: Path, file: SignedFile) -> None:
    """Write a file to mail; whoever reads it needs no secret.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        write_text(path, render(file))
    except OSError as error:
        raise unwritable(path, error) from error


def render(file: SignedFile) -> str:
    """Return the one text that stands for a file."""
    return json.dumps(file.model_dump(mode="json"), indent=1) + "\n"


def read_signed(model: type[File], path: Path) -> File:
    """Read a file in full and check its form; who signed it is for the caller to check.

    Raises:
        ConfigError: It cannot be read.
        ProtocolError: It is another kind of file, too long, or not as it was written.
    """
    kind = str(model.model_fields["kind"].default)
    text = _read(path, model.limit)
    found = re.search(r'"kind": "([a-z0-9-]{1,40})"', text)
    if found is None or found[1] != kind:
        raise ProtocolError(f"{path} is another kind of file", expected=_KINDS[kind],
                            found=_other_kind(text, found[1] if found else ""),
                            fix="name the right file; docs/network.md says who makes which")
    try:
        file = model.model_validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise ProtocolError(f"{path} cannot be read", expected=f"{_KINDS[kind]}, as it was made",
                            found=_mistakes(error), fix=_ASK_AGAIN) from error
    if render(file) != text:
        raise ProtocolError(f"{path} is not as it was made",
                            expected=f"{_KINDS[kind]}, letter by letter",
                            found="another order, keys given twice, or other blanks", fix=_ASK_AGAIN)
    return file


def _content(file: SignedFile) -> bytes:
    return canonical_json(file.model_dump(mode="json", exclude={"signature"}))


def _read(path: Path, limit: int) -> str:
    if not is_there(path) or not path.is_file():
        raise ConfigError(f"{path} cannot be read", expected="a file",
                          found="a folder" if path.is_dir() else "nothing there", fix="check the path")
    try:
        with path.open("rb") as stream:
            content = stream.read(2 * limit + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", expected="a file that can be read",
                          found=error.strerror or type(error).__name__,
                          fix="correct its permissions") from error
    # Mail programs change line ends, which mean nothing here.
    text = content.decode("ascii", errors="replace").replace("\r\n", "\n").rstrip() + "\n"
    if len(text) > limit:
        raise ProtocolError(f"{path} is too long", expected=f"at most {limit} bytes",
                            found=f"{len(text)} or more", fix=_ASK_AGAIN)
    return text


def _other_kind(text: str, kind: str) -> str:
    if "PRIVATE KEY" in text:
        return "a secret key, which must never leave its machine"
    if "BEGIN CERTIFICATE" in text and not kind:
        return "a certificate"
    return _KINDS.get(kind, f"`kind: {kind}`, which this version does not know" if kind else
                      "no such file of braing3n")


def _mistakes(error: ValidationError | RecursionError) -> str:
    """Return the first mistakes, without the values: nobody knows what those are."""
    if not isinstance(error, ValidationError):
        return "brackets in brackets without end"
    details = error.errors(include_input=False, include_url=False)
    said = [f"{'.'.join(map(str, one['loc'])) or 'the text'}: {one['msg']}" for one in details[:3]]
    return "; ".join(said)
