"""What all pages and pictures share: colours, PNG bytes, pictures inside a page, templates."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from matplotlib.figure import Figure

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, less yellow, which white swallows: told apart
# by all eyes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")

# Where the style lies that pages include.
_STYLES = Path(__file__).parent / "report"


def png(figure: Figure, dpi: int) -> bytes:
    """Return a figure as a PNG, without a date or a version: the same content gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return a picture as the text that a page holds instead of a link."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def page_template(path: Path) -> Template:
    """Return a page's template; texts are escaped, and a name that is not given is an error."""
    environment = Environment(loader=FileSystemLoader([path.parent, _STYLES]), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(path.name)
