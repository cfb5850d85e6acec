"""Errors that a person can act on: what was expected, what was found, what to do."""


class BrainG3NError(Exception):
    """A mistake in input, configuration or protocol, told in full.

    The text names files and values, so it is for the screen and the log of whoever runs the
    command. Only `code` may cross the wire.

    Args:
        what: One sentence: what went wrong.
        expected: What would have been right.
        found: What was there instead.
        fix: What the reader can do about it.
    """

    code = "error"
    exit_code = 2

    def __init__(self, what: str, *, expected: str, found: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.fix = fix

    def __str__(self) -> str:
        return (
            f"{self.what}\n  expected: {self.expected}\n  found:    {self.found}\n"
            f"  to do:    {self.fix}"
        )


class ConfigError(BrainG3NError):
    """A plan, a site file or a command's option is wrong."""

    code = "config"


class ScanError(BrainG3NError):
    """A scan cannot be used; the run goes on without it and says so."""

    code = "scan"


class CohortError(BrainG3NError):
    """A cohort's folder or table holds nothing that can be used."""

    code = "cohort"


class OutputError(BrainG3NError):
    """An output folder is taken, or cannot be written."""

    code = "output"


class ProtocolError(BrainG3NError):
    """A message is malformed, or does not belong to this run, stage or model."""

    code = "protocol"


class DigestError(ProtocolError):
    """Bytes do not have the digest that was agreed on."""

    code = "digest"


class DivergedError(BrainG3NError):
    """Training at a site left the finite numbers; this round's weights are useless."""

    code = "diverged"


class PolicyError(BrainG3NError):
    """A site's own settings do not allow what is asked of it."""

    code = "policy"
    exit_code = 3


class BudgetError(PolicyError):
    """What is asked of a site does not fit its privacy budget; nothing was spent."""

    code = "budget"


class ReplayError(PolicyError):
    """A site is asked for what it released already, or for a round before that."""

    code = "replay"


class PlanError(PolicyError):
    """A site does not work on a plan: nobody there has approved it, or it goes beyond its limits."""

    code = "plan"


class CodeError(PolicyError):
    """A server sent code, or a definition of another app than the one that is installed."""

    code = "code"


class EgressError(PolicyError):
    """What would leave a site is not what its settings let out."""

    code = "egress"


class HeldError(PolicyError):
    """A person at a site has not let a reply out."""

    code = "held"


class LedgerError(BrainG3NError):
    """A site's ledger is damaged, gone, in use or full: nothing is released without it."""

    code = "ledger"


class ServiceError(BrainG3NError):
    """A program cannot do its work now; it may later, when something else is there again."""

    code = "service"
    exit_code = 1


class RefusedError(BrainG3NError):
    """The other side does not take this one."""

    code = "refused"
    exit_code = 3


class RunFailedError(BrainG3NError):
    """A run ended without the models that it was started for."""

    code = "run_failed"
    exit_code = 1
