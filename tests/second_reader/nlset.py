"""Reads and verifies the published files of a key set, as `crates/keyset/FORMAT.md` describes them.

This is a second reader: small and slow, written from that page alone, so that a mistake in the page or in the other reader
shows as a difference between the two.
"""

import hashlib
import os
from dataclasses import dataclass

from base import PART_MAX_BYTES, PARTS_MAX, Base, decode_base
from delta import FILE_MAX_BYTES, apply_body, decode_body, decode_file
from notes import NOTE_MAX_BYTES, open_note, parse_fields, parse_hex, parse_id, parse_number
from rebase import apply_record, decode_record
from refusal import Refused, require

HEAD_FIRST_LINE = "nightlatch.head/4"
HEAD_EARLIER_FIRST_LINE = "nightlatch.head/3"
HEAD_FIELDS = (
    "set workspace brand incarnation epoch version commitment keys base-version base-commitment base-root base-length "
    "base-parts rebase rebase-length pepper pepper-check accepts-foreign policy policy-length issued valid-until skew "
    "open-until trust audit"
).split()
HEAD_NUMBERS = (
    "incarnation epoch version keys base-version base-length rebase-length policy-length issued valid-until skew"
).split()
TAG_BYTES = 17


@dataclass(frozen=True)
class Head:
    """What a head says. Hashes are bytes; `rebase` is None where there is no record."""

    set_id: str
    workspace: str
    brand: str
    incarnation: int
    epoch: int
    version: int
    commitment: bytes
    keys: int
    base_version: int
    base_commitment: bytes
    base_root: bytes
    base_length: int
    base_parts: tuple
    rebase: bytes | None
    rebase_length: int
    pepper: str
    pepper_check: bytes
    accepts_foreign: bool
    policy: bytes
    policy_length: int
    issued: int
    valid_until: int
    skew: int
    open_until: int | None
    trust: int | None
    audit: tuple[int, bytes] | None


def _parse_parts(text):
    if text == "-":
        return ()
    parts = tuple(parse_number(part, "head: base-parts") for part in text.split(","))
    require(len(parts) <= PARTS_MAX, f"head: {len(parts)} parts")
    require(all(0 < part <= PART_MAX_BYTES for part in parts), "head: a part is empty or too long")
    return parts


def _parse_audit(text):
    """Count and root of the audit log's checkpoint."""
    if text == "-":
        return None
    words = text.split(" ")
    require(len(words) == 2, "head: audit is not a count and a root")
    count = parse_number(words[0], "head: audit")
    require(count > 0, "head: a checkpoint of no entries")
    return count, parse_hex(words[1], 32, "head: audit")


def parse_head(text):
    """The head that the text of its note spells."""
    earlier = text.startswith(HEAD_EARLIER_FIRST_LINE + "\n")
    values = parse_fields(text, HEAD_EARLIER_FIRST_LINE if earlier else HEAD_FIRST_LINE, HEAD_FIELDS, "head")
    numbers = {name.replace("-", "_"): parse_number(values[name], f"head: {name}") for name in HEAD_NUMBERS}
    audit = _parse_audit(values["audit"])
    require(audit is None or not earlier, "head: audit is not '-' in version 3")
    optional = {}
    for name in ("open-until", "trust"):
        value = values[name]
        optional[name.replace("-", "_")] = None if value == "-" else parse_number(value, f"head: {name}")
    for name in ("set", "workspace", "pepper"):
        parse_id(values[name], f"head: {name}")
    require(all("!" <= char <= "~" for char in values["brand"]), "head: a brand that is not printable")
    require(values["accepts-foreign"] in ("yes", "no"), "head: accepts-foreign is neither yes nor no")
    head = Head(
        set_id=values["set"],
        workspace=values["workspace"],
        brand=values["brand"],
        commitment=parse_hex(values["commitment"], 32, "head: commitment"),
        base_commitment=parse_hex(values["base-commitment"], 32, "head: base-commitment"),
        base_root=parse_hex(values["base-root"], 32, "head: base-root"),
        base_parts=_parse_parts(values["base-parts"]),
        rebase=None if values["rebase"] == "-" else parse_hex(values["rebase"], 32, "head: rebase"),
        pepper=values["pepper"],
        pepper_check=parse_hex(values["pepper-check"], TAG_BYTES, "head: pepper-check"),
        accepts_foreign=values["accepts-foreign"] == "yes",
        policy=parse_hex(values["policy"], 32, "head: policy"),
        audit=audit,
        **numbers,
        **optional,
    )
    require(head.open_until is None or head.open_until >= head.valid_until, "head: open-until is before valid-until")
    require((head.rebase is None) == (head.rebase_length == 0), "head: rebase and rebase-length do not go together")
    require(head.base_version >= 1 and head.epoch >= 1, "head: versions and epochs count from 1")
    require(head.version >= head.base_version, "head: its version is before its base")
    require((head.epoch == 1) == (head.base_version == 1), "head: version 1 is the base of epoch 1, and no other is")
    require(head.epoch > 1 or head.rebase is None, "head: epoch 1 follows from no epoch")
    if head.version == head.base_version:
        require(head.commitment == head.base_commitment, "head: one version, two commitments")
    return head


def commitment(before, link):
    """c_V, from c_{V−1} and the link of V."""
    return hashlib.sha256(b"nightlatch.commitment/1" + before + link).digest()


def tag_of_digest(set_id, pepper, digest):
    """The 17 bytes by which a set knows the key with this digest."""
    require(len(pepper) == 32, "pepper: not 32 bytes")
    require(len(set_id) <= 16, "set: an id of more than 16 characters, which has no tags")
    block = b"nightlatch.tag/1" + set_id.encode("ascii").ljust(16, b"\0") + pepper
    return hashlib.sha256(block + digest).digest()[:TAG_BYTES]


def check_pepper(head, pepper_id, pepper):
    """Refuses a pepper that is not the one the head names."""
    require(pepper_id == head.pepper, f"pepper: {pepper_id} is given, and the set's is {head.pepper}")
    tag = tag_of_digest(head.set_id, pepper, hashlib.sha256(b"nightlatch.pepper-check/1").digest())
    require(tag == head.pepper_check, "pepper: other bytes than the set's under its id")


def path(base_version, version, single_steps=False):
    """The (from, to) of the deltas that lead from a base to a version, by the greatest levels or by level 0 alone."""
    at, last = 0, version - base_version
    while at < last:
        step = 1
        while not single_steps and at % (2 * step) == 0 and at + 2 * step <= last:
            step *= 2
        yield base_version + at, base_version + at + step
        at += step


@dataclass(frozen=True)
class State:
    """A set at one version. `commitment` is None before anything has named it."""

    base: Base
    version: int
    commitment: bytes | None
    profiles: tuple
    base_rows: tuple
    added_rows: tuple

    def rows(self):
        """All rows in the order of their tags."""
        return sorted(self.base_rows + self.added_rows, key=lambda row: row.tag)

    def find(self, tag):
        """The row of the key with this tag of 17 bytes, or None."""
        first = int.from_bytes(tag, "big") >> (8 * TAG_BYTES - self.base.header.tag_bits())
        return next((row for row in self.base_rows + self.added_rows if row.tag == first), None)

    def contents(self):
        """What has to be the same, whichever way led here."""
        return self.version, self.commitment, self.profiles, self.base_rows, self.added_rows


def state_of_base(base, its_commitment):
    """The state at the version of a base."""
    return State(base, base.header.version, its_commitment, base.profiles, base.rows, ())


class SetDirectory:
    """The files of one set in a directory, read with the verifiers that are given. Never lists anything."""

    def __init__(self, directory, verifiers):
        self._directory = directory
        self._verifiers = verifiers

    def _read(self, name, length=None, at_most=None):
        file = os.path.join(self._directory, name)
        try:
            size = os.stat(file).st_size
            require(length is None or size == length, f"{name}: {size} bytes, and {length} are due")
            require(at_most is None or size <= at_most, f"{name}: {size} bytes, and at most {at_most} can be")
            with open(file, "rb") as opened:
                octets = opened.read()
        except OSError as error:
            raise Refused(f"{name}: {error.strerror}") from None
        require(len(octets) == size, f"{name}: changed while it was read")
        return octets

    def head(self):
        """The head, signed by a verifier of its own set."""
        head = parse_head(open_note(self._read("head", at_most=NOTE_MAX_BYTES), self._verifiers, "head"))
        for verifier in self._verifiers:
            require(verifier.name == f"nightlatch/{head.set_id}", f"head: of set {head.set_id}, not of {verifier.name}")
        return head

    def policy(self, head):
        """The bytes of the route policy."""
        octets = self._read(f"files/policy-{head.policy.hex()}", length=head.policy_length)
        require(hashlib.sha256(octets).digest() == head.policy, "policy: not the file that the head names")
        return octets

    def base(self, incarnation, epoch, length=None, parts=None):
        """A base, consistent in itself; `length` and `parts` are the head's where it speaks of this base."""
        name = f"files/base-{incarnation}-{epoch}"
        index = self._read(name, length=length)

        def read_part(k, part_length):
            if parts is not None:
                agreed = k < len(parts) and parts[k] == part_length
                require(agreed, f"head: part {k} is {part_length} bytes by the index")
            return self._read(f"{name}-{k}", length=part_length)

        base = decode_base(index, read_part)
        require(parts is None or len(parts) == len(base.files.parts), "head: another number of parts than the index")
        same = (base.header.incarnation, base.header.epoch) == (incarnation, epoch)
        require(same, f"{name}: its header names another incarnation or epoch")
        return base

    def head_base(self, head):
        """The base of the head's epoch, which the head signs by its root."""
        base = self.base(head.incarnation, head.epoch, head.base_length, head.base_parts)
        header = base.header
        require(base.files.root() == head.base_root, "base: its root is not the one the head signs")
        require(header.version == head.base_version, "base: its version is not the head's base-version")
        ids = (header.set_id, header.workspace, header.pepper)
        require(ids == (head.set_id, head.workspace, head.pepper), "base: its set, workspace or pepper is not the head's")
        if head.base_version == 1:
            first = commitment(bytes(32), head.base_root)
            require(first == head.base_commitment, "head: base-commitment is not that of its first base")
        return base

    def rebase(self, incarnation, epoch):
        """The bytes of the record that leads to an epoch."""
        return self._read(f"files/rebase-{incarnation}-{epoch}")

    def head_rebase(self, head):
        """The record that leads to the head's epoch, or None; checked against head and commitment."""
        if head.rebase is None:
            return None
        octets = self._read(f"files/rebase-{head.incarnation}-{head.epoch}", length=head.rebase_length)
        require(hashlib.sha256(octets).digest() == head.rebase, "rebase record: not the file that the head names")
        record = decode_record(octets)
        where = (record.set_id, record.incarnation, record.epoch, record.version)
        expected = (head.set_id, head.incarnation, head.epoch, head.base_version)
        require(where == expected, "rebase record: its header is not of the head's base")
        after = commitment(record.commitment_before, head.base_root)
        require(after == head.base_commitment, "rebase record: its commitment does not lead to the head's")
        return record

    def advance(self, state, to_version, single_steps=False):
        """The state at a later version of the same epoch, by the deltas on the path."""
        for step in path(state.version, to_version, single_steps):
            state = self._apply(state, *step)
        return state

    def _apply(self, state, from_version, to_version):
        header = state.base.header
        name = f"delta-{header.incarnation}-{header.epoch}-{from_version}-{to_version}"
        octets = self._read(f"files/{name}", at_most=FILE_MAX_BYTES)
        statement, body_octets = decode_file(octets, self._verifiers, name)
        where = (statement.set_id, statement.incarnation, statement.epoch, statement.from_version, statement.to_version)
        expected = (header.set_id, header.incarnation, header.epoch, from_version, to_version)
        require(where == expected, f"{name}: its note names another place")
        # Only the first delta of an epoch that no head speaks of can meet a state without a commitment.
        same = state.commitment is None or statement.from_commitment == state.commitment
        require(same, f"{name}: it does not lead from this state's commitment")
        if to_version == from_version + 1:
            link = hashlib.sha256(body_octets).digest()
            after = commitment(statement.from_commitment, link)
            require(statement.to_commitment == after, f"{name}: its to-commitment is not that of its body")
        try:
            body = decode_body(body_octets, statement.version)
            after = apply_body(
                body, header.tag_bits(), header.columns, state.profiles, state.base_rows, state.added_rows
            )
        except Refused as refusal:
            raise Refused(f"{name}: {refusal}") from None
        return State(state.base, to_version, statement.to_commitment, *after)

    def state(self, head, base, single_steps=False):
        """The state that the head signs."""
        state = self.advance(state_of_base(base, head.base_commitment), head.version, single_steps)
        require(state.commitment == head.commitment, "head: the deltas lead to another commitment")
        keys = len(state.base_rows) + len(state.added_rows)
        require(keys == head.keys, f"head: {head.keys} keys, and the set has {keys}")
        require(
            head.accepts_foreign or not any(row.foreign for row in state.rows()),
            "head: accepts-foreign is no, and the set has foreign keys",
        )
        return state

    def check_rebases(self, head, base, from_epoch):
        """Builds the head's base from the files of an earlier epoch; refuses unless the same files come out."""
        old = self.base(head.incarnation, from_epoch)
        require(old.header.set_id == head.set_id, "old base: of another set")
        first = commitment(bytes(32), old.files.root()) if old.header.version == 1 else None
        state = state_of_base(old, first)
        for epoch in range(from_epoch + 1, head.epoch + 1):
            if epoch == head.epoch:
                record = self.head_rebase(head)
                require(record is not None, "head: no rebase record leads to its epoch")
            else:
                record = decode_record(self.rebase(head.incarnation, epoch))
                require(record.epoch == epoch, f"rebase record: of epoch {record.epoch}, not {epoch}")
            require(record.version > state.version, "rebase record: leads to a version before the old base's next")
            state = self._rebase(self.advance(state, record.version - 1), record)
        require(state.base.files.root() == head.base_root, "rebase record: leads to another root than the head's")
        require(state.commitment == head.base_commitment, "rebase record: leads to another commitment than the head's")
        require(state.base.files == base.files, "rebase record: leads to other files than the base's")

    def _rebase(self, state, record):
        same = state.commitment is None or state.commitment == record.commitment_before
        require(same, "rebase record: does not lead from the last commitment of its epoch")
        header, profiles, rows, files = apply_record(
            record, state.base.header, state.profiles, state.base_rows, state.added_rows
        )
        base = Base(header, profiles, rows, files)
        return state_of_base(base, commitment(record.commitment_before, files.root()))
