"""From a site's settings to the chain of tools that they name."""

from pathlib import Path

from braing3n.config import PreprocessingConfig
from braing3n.data.canonical import canonical, check_stripped
from braing3n.data.reading import load_scan
from braing3n.data.tools.bias_field import open_n4
from braing3n.data.tools.chain import Chain
from braing3n.data.tools.registration import open_registration
from braing3n.data.tools.skull_strip import open_hd_bet
from braing3n.data.tools.template import Template
from braing3n.errors import ConfigError, ScanError


def open_chain(settings: PreprocessingConfig, device: str = "cpu") -> Chain:
    """Return the tools that a site has chosen.

    Args:
        settings: Which.
        device: What HD-BET computes on.

    Raises:
        ConfigError: A package, a model or the template is not there or cannot be used.
    """
    template = None if settings.template is None else load_template(settings.template)
    moves = template if settings.registration == "affine" else None
    return Chain(
        bias_field=open_n4() if settings.bias_field == "n4" else None,
        skull_strip=None if settings.hd_bet_model is None
        else open_hd_bet(settings.hd_bet_model, device),
        registration=None if moves is None else open_registration(moves),
        template=template,
        is_checked=settings.check,
    )


def load_template(path: Path) -> Template:
    """Read a template.

    Raises:
        ConfigError: It cannot be read, or is not skull-stripped.
    """
    try:
        scan = canonical(load_scan(path))
        check_stripped(scan)
    except ScanError as error:
        raise ConfigError(f"the template cannot be used: {error.what}", expected=error.expected,
                          found=error.found,
                          fix="name a skull-stripped brain in `preprocessing: template:`") from error
    return Template(scan)
