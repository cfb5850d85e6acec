"""Packages that a site may add for preprocessing: there in the version that we know, or told."""

from importlib.metadata import PackageNotFoundError, version

from braing3n.errors import ConfigError


def required_version(package: str, known: str, extra: str, setting: str) -> str:
    """Return the installed version of a package that a setting asks for.

    Args:
        package: Its name on the package index.
        known: The version that this release was tested with.
        extra: The extra of this project that installs it.
        setting: What asks for it, for the message.

    Raises:
        ConfigError: It is not installed. With the command that installs it.
    """
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise ConfigError(f"`preprocessing: {setting}` needs a package that is not installed",
                          expected=f"{package} {known} (extra `{extra}`)", found="no such package",
                          fix=f'python -m pip install "{package}=={known}"') from error
