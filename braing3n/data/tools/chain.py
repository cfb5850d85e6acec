"""What a site has chosen to do to its scans before they are resampled, and what it says of it.

Everything is off by default: scans are taken as processed already, which is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from braing3n.data.canonical import check_stripped, stripped_rule
from braing3n.data.scan import Scan


class Tool(Protocol):
    """One step: from a canonical scan to another, whose background is 0 too."""

    @property
    def title(self) -> str:
        """What was done, by what, for a person."""

    def describe(self) -> Mapping[str, Any]:
        """Return versions, settings and digests of files: all that the result depends on."""

    def __call__(self, scan: Scan) -> Scan:
        """Return the scan as it is after this step."""


@dataclass(frozen=True)
class Chain:
    """The tools, in their order, and what is checked after them.

    Attributes:
        bias_field: Evens out the brightness.
        skull_strip: Leaves the brain alone.
        registration: Moves the scan to the template.
        template: What the scans are registered to, before or by `registration`. As a tool it only
            refuses those that do not fit.
        is_checked: Whether scans that do not look stripped, or do not fit the template, are
            refused.
    """

    bias_field: Tool | None = None
    skull_strip: Tool | None = None
    registration: Tool | None = None
    template: Tool | None = None
    is_checked: bool = True

    def apply(self, scan: Scan) -> Scan:
        """Return a canonical scan as it is after all tools.

        Raises:
            ScanError: It does not look skull-stripped, or does not fit the template.
        """
        for tool in (self.bias_field, self.skull_strip):
            scan = scan if tool is None else tool(scan)
        if self.is_checked:
            check_stripped(scan)
        if self.registration is not None:
            scan = self.registration(scan)
        if self.is_checked and self.template is not None:
            scan = self.template(scan)
        return scan

    def describe(self) -> dict[str, Any]:
        """Return all that the outcome depends on besides the scan."""
        tools = {"bias_field": self.bias_field, "skull_strip": self.skull_strip,
                 "registration": self.registration, "template": self.template}
        return {
            **{step: None if tool is None else dict(tool.describe()) for step, tool in tools.items()},
            "checked": stripped_rule() if self.is_checked else None,
        }

    def note(self) -> str:
        """Return one line for the site's own record: what was done to its scans."""
        verdict = "checked" if self.is_checked else "not checked"
        steps = [
            "no bias field correction" if self.bias_field is None else self.bias_field.title,
            f"no skull strip: scans are taken as stripped, {verdict}"
            if self.skull_strip is None else f"{self.skull_strip.title}, {verdict}",
        ]
        if self.registration is not None:
            steps.append(f"{self.registration.title}, {verdict}")
        elif self.template is None:
            steps.append("no registration")
        else:
            steps.append(f"no registration: scans are taken as registered to {self.template.title}, "
                         f"{verdict}")
        return f"preprocessing: {'; '.join(steps)}"


PLAIN = Chain()
