"""Bases: an index (core, leaves, directory) and the blocks of rows that it leads to.

Decoding reads every segment and then encodes the keys it found once more: with the header given there is one right
sequence of bytes, so anything else in the files is refused without naming each way to be wrong.
"""

import hashlib
import struct
from dataclasses import dataclass

from notes import pad_id, unpad_id
from records import COLUMN_NUMBER, COLUMN_SUBJECT, PROFILES_MAX, Row, SectionReader, check_row
from refusal import require

HEADER = struct.Struct("<6sH4QIIIBB10s32s32s32s32s")
MAGIC = b"NLBASE"
FORMATS = (2, 3)
REFUSING = 3  # from this version on, profiles have the flag *refused*
BUCKET_BITS_MAX = 24
SEGMENT_BUCKETS = 512
SEGMENT_KEYS_MAX = 65_535
NODE_LEAVES = 64
PART_MAX_BYTES = 24 * 1024 * 1024
PARTS_MAX = 64


@dataclass(frozen=True)
class BaseHeader:
    """What a base is of, apart from its keys: with these and the keys, its bytes are given."""

    format: int
    incarnation: int
    epoch: int
    version: int
    cutoff: int
    bucket_bits: int
    columns: int
    set_id: str
    workspace: str
    pepper: str

    def rest_bytes(self):
        """r, the bytes of a row's rest."""
        if self.bucket_bits >= 16:
            return 13
        return 14 if self.bucket_bits >= 8 else 15

    def tag_bits(self):
        """T, the bits of a tag that are matched."""
        return self.bucket_bits + 8 + 8 * self.rest_bytes()

    def key_bytes(self):
        """Bytes of a key in a block: tag byte and row."""
        return 1 + self.rest_bytes() + 3 + 4 + 4 * self.columns.bit_count()

    def segments(self):
        """s, the number of segments."""
        return max(1, (1 << self.bucket_bits) // SEGMENT_BUCKETS)

    def segment_buckets(self):
        """Buckets of each segment."""
        return min(1 << self.bucket_bits, SEGMENT_BUCKETS)

    def directory_bytes(self):
        """Bytes of one segment's piece of the directory."""
        return 2 * (self.segment_buckets() + 1)


@dataclass(frozen=True)
class EncodedBase:
    """The files of a base."""

    index: bytes
    parts: tuple
    core_bytes: int

    def root(self):
        """The hash to which the core belongs."""
        return hashlib.sha256(self.index[: self.core_bytes]).digest()


@dataclass(frozen=True)
class Base:
    """A base, read. Rows are in the order of their tags, so a row's place is its slot."""

    header: BaseHeader
    profiles: tuple
    rows: tuple
    files: EncodedBase


def _encode_row(header, row):
    meta = row.status | int(row.foreign) << 2 | row.profile << 3
    rest = row.tag & ((1 << 8 * header.rest_bytes()) - 1)
    octets = rest.to_bytes(header.rest_bytes(), "big") + meta.to_bytes(3, "little") + struct.pack("<I", row.deadline)
    if header.columns & COLUMN_SUBJECT:
        octets += struct.pack("<I", row.subject)
    if header.columns & COLUMN_NUMBER:
        octets += struct.pack("<I", row.number)
    return octets


def _encode_segments(header, rows):
    """Of each segment its number of keys, its piece of the directory and its block."""
    rest_bits = 8 * header.rest_bytes()
    by_segment = [[] for _ in range(header.segments())]
    for row in rows:
        bucket = row.tag >> (8 + rest_bits)
        by_segment[bucket // header.segment_buckets()].append((bucket % header.segment_buckets(), row))
    for members in by_segment:
        require(len(members) <= SEGMENT_KEYS_MAX, f"base: a segment of {len(members)} keys")
        sizes = [0] * header.segment_buckets()
        for bucket, _ in members:
            sizes[bucket] += 1
        places = [0]
        for size in sizes:
            places.append(places[-1] + size)
        directory = struct.pack(f"<{len(places)}H", *places)
        block = bytes(row.tag >> rest_bits & 0xFF for _, row in members)
        block += b"".join(_encode_row(header, row) for _, row in members)
        yield len(members), directory, block


def _fill_parts(blocks):
    parts = []
    for block in blocks:
        if not block:
            continue  # nothing to lay down, so it opens no part either
        if not parts or len(parts[-1]) + len(block) > PART_MAX_BYTES:
            parts.append(bytearray())
        parts[-1] += block
    require(len(parts) <= PARTS_MAX, f"base: {len(parts)} parts")
    return tuple(bytes(part) for part in parts)


def encode_base(header, profiles, rows):
    """The files of the base with this header and these keys; refuses keys that no base can hold."""
    require(all(low.tag < high.tag for low, high in zip(rows, rows[1:])), "base: its keys do not ascend")
    encoded_profiles = [profile.encode() for profile in profiles]
    require(len(profiles) <= PROFILES_MAX, f"base: {len(profiles)} profiles")
    ascending = all(low < high for low, high in zip(encoded_profiles, encoded_profiles[1:]))
    require(ascending, "base: its profiles do not ascend")
    for row in rows:
        check_row(row, len(profiles), header.columns, "base")
        require(not row.deadline_before(header.cutoff), "base: a key that had ended before the cutoff")
    # The same keys always give the same files, which a profile of no key would break.
    require(len({row.profile for row in rows}) == len(profiles), "base: a profile that no key has")
    ranks, leaves, directory, blocks = [0], [], [], []
    for number, (size, piece, block) in enumerate(_encode_segments(header, rows)):
        ranks.append(ranks[-1] + size)
        leaves.append(hashlib.sha256(b"\0" + struct.pack("<I", number) + piece + block).digest())
        directory.append(piece)
        blocks.append(block)
    nodes = [
        hashlib.sha256(b"\1" + b"".join(leaves[at : at + NODE_LEAVES])).digest()
        for at in range(0, len(leaves), NODE_LEAVES)
    ]
    section = b"".join(encoded_profiles)
    core = (
        HEADER.pack(
            MAGIC,
            header.format,
            header.incarnation,
            header.epoch,
            header.version,
            header.cutoff,
            len(rows),
            len(profiles),
            len(section),
            header.bucket_bits,
            header.columns,
            bytes(10),
            pad_id(header.set_id),
            pad_id(header.workspace),
            pad_id(header.pepper),
            bytes(32),
        )
        + section
        + struct.pack(f"<{len(ranks)}I", *ranks)
        + b"".join(nodes)
    )
    return EncodedBase(core + b"".join(leaves) + b"".join(directory), _fill_parts(blocks), len(core))


def _decode_header(index):
    """The header with its counts: keys, profiles, bytes of the profile section."""
    require(len(index) >= HEADER.size, "base: shorter than its header")
    fields = HEADER.unpack_from(index)
    magic, version = fields[:2]
    require(magic == MAGIC, "base: does not begin with NLBASE")
    require(version in FORMATS, f"base: format version {version}, and this reader knows {FORMATS} only")
    keys, profiles, section, bucket_bits, columns, zeros = fields[6:12]
    require(bucket_bits <= BUCKET_BITS_MAX, f"base: {bucket_bits} bucket bits")
    require(columns <= COLUMN_SUBJECT | COLUMN_NUMBER, f"base: unknown columns {columns:#x}")
    require(not any(zeros) and not any(fields[15]), "base: bytes of its header that have to be zero")
    ids = [unpad_id(octets, f"base's {what}") for octets, what in zip(fields[12:15], ("set", "workspace", "pepper"))]
    return BaseHeader(*fields[1:6], bucket_bits, columns, *ids), keys, profiles, section


def _decode_block(header, segment, places, block):
    """The rows of one segment, in their order."""
    keys = places[-1]
    row_bytes = header.key_bytes() - 1
    rest_bytes = header.rest_bytes()
    for bucket, (begin, end) in enumerate(zip(places, places[1:])):
        for place in range(begin, end):
            row = block[keys + place * row_bytes : keys + (place + 1) * row_bytes]
            prefix = (segment * header.segment_buckets() + bucket) << 8 | block[place]
            meta = int.from_bytes(row[rest_bytes : rest_bytes + 3], "little")
            numbers = list(struct.unpack(f"<{(row_bytes - rest_bytes - 3) // 4}I", row[rest_bytes + 3 :]))
            yield Row(
                tag=prefix << 8 * rest_bytes | int.from_bytes(row[:rest_bytes], "big"),
                status=meta & 3,
                foreign=bool(meta & 4),
                profile=meta >> 3,
                deadline=numbers.pop(0),
                subject=numbers.pop(0) if header.columns & COLUMN_SUBJECT else None,
                number=numbers.pop(0) if header.columns & COLUMN_NUMBER else None,
            )


def part_lengths(header, sizes):
    """Bytes of each part, from the numbers of keys of the segments."""
    lengths = []
    for size in sizes:
        block = size * header.key_bytes()
        if block and (not lengths or lengths[-1] + block > PART_MAX_BYTES):
            lengths.append(0)
        if block:
            lengths[-1] += block
    require(len(lengths) <= PARTS_MAX, f"base: {len(lengths)} parts")
    return lengths


def decode_base(index, read_part):
    """The base with this index. `read_part(k, length)` gives the bytes of part k, which have to be so many."""
    header, keys, profile_count, section_bytes = _decode_header(index)
    segments = header.segments()
    core_bytes = HEADER.size + section_bytes + 4 * (segments + 1) + 32 * -(-segments // NODE_LEAVES)
    directory_at = core_bytes + 32 * segments
    index_bytes = directory_at + segments * header.directory_bytes()
    require(len(index) == index_bytes, f"base: an index of {len(index)} bytes, and its header says {index_bytes}")
    section = SectionReader(index[HEADER.size : HEADER.size + section_bytes], "base", header.format >= REFUSING)
    require(profile_count <= PROFILES_MAX, f"base: {profile_count} profiles")
    profiles = tuple(section.profile() for _ in range(profile_count))
    section.finish()

    directory = []
    for number in range(segments):
        at = directory_at + number * header.directory_bytes()
        places = struct.unpack_from(f"<{header.segment_buckets() + 1}H", index, at)
        rising = all(low <= high for low, high in zip(places, places[1:]))
        require(places[0] == 0 and rising, f"base: segment {number}'s directory does not ascend from 0")
        directory.append(places)
    require(sum(places[-1] for places in directory) == keys, "base: its directory has not as many keys as its header")

    lengths = part_lengths(header, [places[-1] for places in directory])
    parts = [read_part(k, length) for k, length in enumerate(lengths)]
    rows, part, at = [], 0, 0
    for number, places in enumerate(directory):
        length = places[-1] * header.key_bytes()
        if length and at == lengths[part]:
            part, at = part + 1, 0
        if length:
            rows.extend(_decode_block(header, number, places, parts[part][at : at + length]))
        at += length

    files = encode_base(header, profiles, tuple(rows))
    require(files.parts == tuple(parts), "base: its blocks are not those of its keys")
    require(files.index[:core_bytes] == index[:core_bytes], "base: its core is not that of its keys")
    require(files.index == index, "base: its leaves or its directory are not those of its keys")
    return Base(header, profiles, tuple(rows), files)
