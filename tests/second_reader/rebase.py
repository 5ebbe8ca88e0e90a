"""Rebase records: how the base of an epoch follows from the last version of the epoch before."""

import struct
from dataclasses import dataclass, replace

from base import BUCKET_BITS_MAX, BaseHeader, encode_base
from bits import BitReader
from notes import unpad_id
from records import COLUMN_NUMBER, COLUMN_SUBJECT, PROFILES_MAX, REVOKED
from refusal import require

HEADER = struct.Struct("<6sH4Q32sIIIIBBHI32s")
MAGIC = b"NLRBSE"
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """A rebase record, read. `new_numbers` has, of each old profile, its new number or None."""

    incarnation: int
    epoch: int
    version: int
    cutoff: int
    commitment_before: bytes
    base_keys: int
    added_keys: int
    new_profile_count: int
    bucket_bits: int
    columns: int
    new_keys: int
    set_id: str
    removed_slots: frozenset
    removed_ranks: frozenset
    new_numbers: tuple


def _removed(stream, keys, what):
    count = stream.count(keys, what)
    return frozenset(stream.ascending(count, keys) if count else ())


def decode_record(octets):
    """The record that these bytes spell."""
    require(len(octets) >= HEADER.size, "rebase record: shorter than its header")
    fields = HEADER.unpack_from(octets)
    magic, version, *where, commitment, base_keys, added_keys, old, new, bucket_bits, columns, zeros, keys, set_id = fields
    require(magic == MAGIC, "rebase record: does not begin with NLRBSE")
    require(version == FORMAT, f"rebase record: format version {version}, and this reader knows {FORMAT} only")
    require(zeros == 0, "rebase record: bytes of its header that have to be zero")
    require(bucket_bits <= BUCKET_BITS_MAX, f"rebase record: {bucket_bits} bucket bits")
    require(columns <= COLUMN_SUBJECT | COLUMN_NUMBER, f"rebase record: unknown columns {columns:#x}")
    require(old <= PROFILES_MAX and new <= old, f"rebase record: {old} profiles become {new}")
    stream = BitReader(octets[HEADER.size :])
    removed_slots = _removed(stream, base_keys, "removed base keys")
    removed_ranks = _removed(stream, added_keys, "removed added keys")
    require(old <= stream.left(), "rebase record: its profiles end early")
    width = (new - 1).bit_length() if new else 0
    new_numbers = []
    for _ in range(old):
        number = stream.bits(width) if stream.bits(1) else None
        require(number is None or number < new, f"rebase record: profile {number} of {new}")
        new_numbers.append(number)
    stream.finish()
    left = base_keys - len(removed_slots) + added_keys - len(removed_ranks)
    require(left == keys, f"rebase record: {left} keys are left, and its header says {keys}")
    return Record(
        *where,
        commitment,
        base_keys,
        added_keys,
        new,
        bucket_bits,
        columns,
        keys,
        unpad_id(set_id, "rebase record's set"),
        removed_slots,
        removed_ranks,
        tuple(new_numbers),
    )


def _new_profiles(record, profiles):
    """The profiles of the new base, by number."""
    by_number = {}
    for profile, number in zip(profiles, record.new_numbers):
        if number is not None:
            same = by_number.setdefault(number, profile) == profile
            require(same, f"rebase record: two different profiles become number {number}")
    require(len(by_number) == record.new_profile_count, "rebase record: a new profile comes from no old one")
    return tuple(by_number[number] for number in range(record.new_profile_count))


def apply_record(record, old_header, profiles, base_rows, added_rows):
    """The header, profiles, rows and files of the next base; the root has yet to be compared."""
    require(record.set_id == old_header.set_id, "rebase record: of another set")
    require(record.incarnation == old_header.incarnation, "rebase record: of another incarnation")
    require(record.bucket_bits == old_header.bucket_bits, "rebase record: the bucket bits do not stay")
    require(record.columns == old_header.columns, "rebase record: the columns do not stay")
    require(record.base_keys == len(base_rows), "rebase record: of a base with another number of keys")
    require(record.added_keys == len(added_rows), "rebase record: of a state with another number of added keys")
    require(len(record.new_numbers) == len(profiles), "rebase record: of a state with another number of profiles")
    kept = []
    for rows, removed in ((base_rows, record.removed_slots), (added_rows, record.removed_ranks)):
        for index, row in enumerate(rows):
            if index in removed:
                ended = row.status == REVOKED or row.deadline_before(record.cutoff)
                require(ended, "rebase record: removes a key that had not ended")
                continue
            number = record.new_numbers[row.profile]
            require(number is not None, "rebase record: drops the profile of a key that stays")
            kept.append(replace(row, profile=number))
    rows = tuple(sorted(kept, key=lambda row: row.tag))
    # The record does not repeat the workspace and the pepper: under another pepper no tag would stay.
    header = BaseHeader(
        old_header.format,
        record.incarnation,
        record.epoch,
        record.version,
        record.cutoff,
        record.bucket_bits,
        record.columns,
        old_header.set_id,
        old_header.workspace,
        old_header.pepper,
    )
    new_profiles = _new_profiles(record, profiles)
    return header, new_profiles, rows, encode_base(header, new_profiles, rows)
