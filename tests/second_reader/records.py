"""What a set says of a key: its row, and the profile that many rows share."""

import struct
from dataclasses import dataclass

from refusal import require

STATUSES = ("active", "retiring", "disabled", "revoked")
REVOKED = 3
KINDS = ("user", "service_account", "partner", "gateway")
ENVIRONMENTS = ("live", "test")
PROFILES_MAX = 1 << 21
SCOPES_MAX = 1024
NAME_MAX = 64

COLUMN_SUBJECT = 1
COLUMN_NUMBER = 2

# A deadline counts from 2020-01-01T00:00:00Z, a cutoff from 1970.
DEADLINE_ZERO = 1_577_836_800


@dataclass(frozen=True)
class Row:
    """One key. `tag` is the number that its first T bits spell; `deadline` 0 is none; columns a set lacks are None."""

    tag: int
    status: int
    foreign: bool
    profile: int
    deadline: int
    subject: int | None
    number: int | None

    def deadline_before(self, cutoff):
        """Whether the deadline lies before the unix second `cutoff`."""
        return self.deadline != 0 and self.deadline + DEADLINE_ZERO < cutoff


def check_row(row, profiles, columns, what):
    """Refuses a row that no set with these columns and so many profiles can hold."""
    require(row.profile < profiles, f"{what}: profile {row.profile}, and there are {profiles}")
    require(not row.foreign or columns & COLUMN_NUMBER, f"{what}: a foreign key in a set without the number column")


@dataclass(frozen=True)
class Profile:
    """Contents that many keys have in common. `subject` is None where the profile is not live."""

    kind: int
    environment: int
    live: bool
    subject: int | None
    refused: bool
    tier: str
    scopes: tuple

    def encode(self):
        """The profile's one spelling in bytes."""
        octets = bytes([self.kind, self.environment, int(self.live) | int(self.refused) << 1])
        if self.live:
            octets += struct.pack("<I", self.subject)
        octets += bytes([len(self.tier)]) + self.tier.encode("ascii")
        octets += struct.pack("<H", len(self.scopes))
        for scope in self.scopes:
            octets += bytes([len(scope)]) + scope.encode("ascii")
        return octets


class SectionReader:
    """Reads a section of profiles from front to back; `refusing` says whether its format has the flag *refused*."""

    def __init__(self, octets, what, refusing):
        self._octets = octets
        self._at = 0
        self._what = what
        self._flags = (0, 1, 3) if refusing else (0, 1)

    def take(self, length):
        """The next `length` bytes."""
        require(length <= len(self._octets) - self._at, f"{self._what}: its profiles end early")
        self._at += length
        return self._octets[self._at - length : self._at]

    def number(self, length):
        """The next number, of `length` bytes."""
        return int.from_bytes(self.take(length), "little")

    def name(self, shortest):
        """The next name with its length before it."""
        length = self.number(1)
        require(shortest <= length <= NAME_MAX, f"{self._what}: a name of {length} characters")
        octets = self.take(length)
        require(all(0x20 <= byte <= 0x7E for byte in octets), f"{self._what}: a name that is not printable ASCII")
        return octets.decode("ascii")

    def profile(self):
        """The next profile."""
        kind, environment, flags = self.number(1), self.number(1), self.number(1)
        require(kind < len(KINDS), f"{self._what}: unknown profile kind {kind}")
        require(environment < len(ENVIRONMENTS), f"{self._what}: unknown environment {environment}")
        require(flags in self._flags, f"{self._what}: unknown profile flags {flags}")
        subject = self.number(4) if flags else None
        tier = self.name(shortest=0)
        count = self.number(2)
        require(count <= SCOPES_MAX, f"{self._what}: a profile of {count} scopes")
        scopes = tuple(self.name(shortest=1) for _ in range(count))
        require(all(low < high for low, high in zip(scopes, scopes[1:])), f"{self._what}: scopes do not ascend")
        return Profile(kind, environment, flags > 0, subject, flags == 3, tier, scopes)

    def finish(self):
        """Refuses bytes after the last profile."""
        require(self._at == len(self._octets), f"{self._what}: bytes after its profiles")
