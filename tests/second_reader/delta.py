"""Deltas: a signed note that says from where to where, and a body that says what changes."""

import hashlib
import struct
from dataclasses import dataclass, replace

from bits import BitReader
from notes import NOTE_MAX_BYTES, open_note, parse_fields, parse_hex, parse_id, parse_number
from records import COLUMN_NUMBER, COLUMN_SUBJECT, PROFILES_MAX, Row, SectionReader, check_row
from refusal import require

FILE_MAX_BYTES = 16 * 1024 * 1024
HEADER = struct.Struct("<6sHIIIBBHIII")
MAGIC = b"NLDLTA"
FORMATS = (2, 3)
REFUSING = 3  # from this version on, profiles have the flag *refused*
FIRST_LINES = {f"nightlatch.delta/{version}": version for version in FORMATS}
FIELDS = ("set", "incarnation", "epoch", "from", "to", "from-commitment", "to-commitment", "body")

MASK_STATUS, MASK_DEADLINE, MASK_PROFILE, MASK_SUBJECT = 1, 2, 4, 8


@dataclass(frozen=True)
class Statement:
    """What the note of a delta says."""

    version: int
    set_id: str
    incarnation: int
    epoch: int
    from_version: int
    to_version: int
    from_commitment: bytes
    to_commitment: bytes
    body_hash: bytes


@dataclass(frozen=True)
class Body:
    """What a delta changes. Changes map a slot or a rank to the new values of a row, by field name."""

    base_keys: int
    added_keys: int
    profile_count: int
    tag_bits: int
    columns: int
    new_profiles: tuple
    replaced_profiles: dict
    base_changes: dict
    added_changes: dict
    additions: tuple


def decode_file(octets, verifiers, what):
    """The statement and the bytes of the body of a delta's file, which belong to each other."""
    require(len(octets) <= FILE_MAX_BYTES, f"{what}: more than {FILE_MAX_BYTES} bytes")
    require(len(octets) >= 4, f"{what}: shorter than the length of its note")
    (note_bytes,) = struct.unpack_from("<I", octets)
    require(note_bytes <= min(NOTE_MAX_BYTES, len(octets) - 4), f"{what}: its note is too long")
    text = open_note(octets[4 : 4 + note_bytes], verifiers, what)
    first_line = text.split("\n", 1)[0]
    require(first_line in FIRST_LINES, f"{what}: begins with an unknown first line")
    values = parse_fields(text, first_line, FIELDS, what)
    statement = Statement(
        FIRST_LINES[first_line],
        parse_id(values["set"], f"{what}: set"),
        *(parse_number(values[name], f"{what}: {name}") for name in FIELDS[1:5]),
        *(parse_hex(values[name], 32, f"{what}: {name}") for name in FIELDS[5:8]),
    )
    body = octets[4 + note_bytes :]
    require(hashlib.sha256(body).digest() == statement.body_hash, f"{what}: its body is not the one it signs")
    return statement, body


def _changes(stream, keys, profiles, columns, what):
    """Changes of base keys or of added keys, as index → values by field name."""
    changes = {}
    before = None
    for _ in range(stream.count(keys, f"groups of {what}")):
        mask = stream.bits(4)
        require(mask != 0, f"{what}: a group that changes nothing")
        require(columns & COLUMN_SUBJECT or not mask & MASK_SUBJECT, f"{what}: subjects in a set without them")
        status = stream.bits(2) if mask & MASK_STATUS else 0
        require(before is None or before < (mask, status), f"{what}: groups do not ascend")
        before = (mask, status)
        count = stream.count(keys, f"keys in a group of {what}")
        require(count > 0, f"{what}: a group of no keys")
        indexes = stream.ascending(count, keys)
        values = [{"status": status} if mask & MASK_STATUS else {} for _ in indexes]
        for bit, name, width in (
            (MASK_DEADLINE, "deadline", 32),
            (MASK_PROFILE, "profile", 21),
            (MASK_SUBJECT, "subject", 32),
        ):
            if mask & bit:
                for value, number in zip(values, stream.frame(width, count)):
                    value[name] = number
        for index, value in zip(indexes, values):
            require(index not in changes, f"{what}: a key in two groups")
            require(value.get("profile", 0) < profiles, f"{what}: a profile that there is not")
            changes[index] = value
    return changes


def _addition_tags(stream, count, tag_bits):
    if count == 0:
        return []
    k = stream.bits(6)
    tags, gaps, first = [], [], 0
    for _ in range(count):
        gap = stream.rice(k, (1 << 64) - 1 - first)
        gaps.append(gap)
        first += gap
        tag = first << 64 | stream.bits(64)
        tags.append(tag << (tag_bits - 128) | stream.bits(tag_bits - 128))
    stream.require_cheapest(gaps, k)
    require(all(low < high for low, high in zip(tags, tags[1:])), "delta: additions do not ascend")
    return tags


def _additions(stream, tag_bits, profiles, columns):
    # Each addition takes at least its tag's bits, so more than this cannot follow.
    count = stream.count(stream.left() // (tag_bits - 63), "additions")
    tags = _addition_tags(stream, count, tag_bits)
    statuses = stream.frame(2, count)
    foreign = stream.frame(1, count)
    has_deadline = [stream.bits(1) for _ in range(count)]
    deadlines = iter(stream.frame(32, sum(has_deadline)))
    numbers = stream.frame(21, count)
    subjects = stream.frame(32, count) if columns & COLUMN_SUBJECT else [None] * count
    key_numbers = stream.frame(32, count) if columns & COLUMN_NUMBER else [None] * count
    rows = []
    for place, tag in enumerate(tags):
        deadline = next(deadlines) if has_deadline[place] else 0
        # "None" has its own bit here, so a zero would be its second spelling.
        require(deadline != 0 or not has_deadline[place], "delta: an addition with a deadline of 0")
        row = Row(
            tag,
            statuses[place],
            bool(foreign[place]),
            numbers[place],
            deadline,
            subjects[place],
            key_numbers[place],
        )
        check_row(row, profiles, columns, "delta: an addition")
        rows.append(row)
    return tuple(rows)


def decode_body(octets, format_version):
    """The changes that the bytes of a body spell, whose statement is of that format version."""
    require(len(octets) >= HEADER.size, "delta: its body is shorter than its header")
    fields = HEADER.unpack_from(octets)
    magic, version, base_keys, added_keys, profile_count, tag_bits, columns, zeros, new, replaced, section_bytes = fields
    require(magic == MAGIC, "delta: its body does not begin with NLDLTA")
    require(version == format_version, f"delta: a body of format version {version}, and its statement says {format_version}")
    require(zeros == 0, "delta: bytes of its header that have to be zero")
    require(128 <= tag_bits <= 136, f"delta: tags of {tag_bits} bits")
    require(columns <= COLUMN_SUBJECT | COLUMN_NUMBER, f"delta: unknown columns {columns:#x}")
    require(section_bytes <= len(octets) - HEADER.size, "delta: its profiles end early")
    require(profile_count + new <= PROFILES_MAX, "delta: too many profiles")
    require(replaced <= profile_count, "delta: more profiles are replaced than there are")

    section = SectionReader(octets[HEADER.size : HEADER.size + section_bytes], "delta", version >= REFUSING)
    new_profiles = tuple(section.profile() for _ in range(new))
    replaced_profiles, least = {}, 0
    for _ in range(replaced):
        number = section.number(4)
        require(least <= number < profile_count, "delta: replaced profiles do not ascend or are not there")
        least = number + 1
        replaced_profiles[number] = section.profile()
    section.finish()

    profiles = profile_count + new
    stream = BitReader(octets[HEADER.size + section_bytes :])
    base_changes = _changes(stream, base_keys, profiles, columns, "changes of base keys")
    added_changes = _changes(stream, added_keys, profiles, columns, "changes of added keys")
    additions = _additions(stream, tag_bits, profiles, columns)
    stream.finish()
    return Body(
        base_keys,
        added_keys,
        profile_count,
        tag_bits,
        columns,
        new_profiles,
        replaced_profiles,
        base_changes,
        added_changes,
        additions,
    )


def apply_body(body, tag_bits, columns, profiles, base_rows, added_rows):
    """The profiles, base rows and added rows after a delta; refuses a body that is of another state."""
    require(body.base_keys == len(base_rows), "delta: of a base with another number of keys")
    require(body.added_keys == len(added_rows), "delta: of a state with another number of added keys")
    require(body.profile_count == len(profiles), "delta: of a state with another number of profiles")
    require(body.tag_bits == tag_bits, "delta: of a base with another tag length")
    require(body.columns == columns, "delta: of a base with other columns")
    new_profiles = list(profiles)
    for number, after in body.replaced_profiles.items():
        before = profiles[number]
        require(before.live and after.live, "delta: replaces a profile that is not live")
        kept = before.subject == after.subject and before.environment == after.environment
        require(kept, "delta: replaces a profile by one of another subject or environment")
        new_profiles[number] = after
    new_profiles.extend(body.new_profiles)

    base_rows, added_rows = list(base_rows), list(added_rows)
    for rows, changes in ((base_rows, body.base_changes), (added_rows, body.added_changes)):
        for index, values in changes.items():
            rows[index] = replace(rows[index], **values)
    there = {row.tag for row in base_rows} | {row.tag for row in added_rows}
    require(all(row.tag not in there for row in body.additions), "delta: adds a key that is there already")
    added_rows = sorted(added_rows + list(body.additions), key=lambda row: row.tag)
    return tuple(new_profiles), tuple(base_rows), tuple(added_rows)
