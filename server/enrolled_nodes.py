"""Which site each node was enrolled as: the file that `braing3n server start` keeps up to date."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from braing3n.errors import ConfigError
from braing3n.protocol import SiteName

_NODES = TypeAdapter(dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})$")], SiteName])


def load_nodes(path: Path) -> dict[int, str]:
    """Read the names of sites by Flower's numbers of their nodes, as JSON: `{"1234": "hospital-a"}`.

    Raises:
        ConfigError: The file is missing or damaged. Nobody is taken for shut out then.
    """
    try:
        found = _NODES.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{path} cannot be read", expected="a JSON object of node numbers and sites",
                          found="no such file" if isinstance(error, OSError) else "other content",
                          fix="is `braing3n server start` at work? It writes the file") from error
    return {int(node): name for node, name in found.items()}
