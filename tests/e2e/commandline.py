"""What a command line comes to, and where the end-to-end tests keep their objects."""

from __future__ import annotations

from dataclasses import dataclass

BUCKET = "previews"


@dataclass(frozen=True)
class Outcome:
    """What a command line came to.

    Attributes:
        status: The exit status.
        stdout: What went to standard output.
        stderr: What went to standard error.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr."""
        return self.stderr.splitlines()
