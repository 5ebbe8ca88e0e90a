"""Writes tiny sets for the tests: as plain as can be, with no checks of its own, so that it can also write wrong ones."""

import base64
import hashlib
import os
import struct

import ed25519
from nlset import commitment
from notes import key_id


def sign(seed, message):
    """An Ed25519 signature (RFC 8032, 5.1.6)."""
    scalar, prefix = _expand(seed)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ed25519.ORDER
    r_octets = _encode_point(ed25519.multiply(r, ed25519.BASE))
    k = int.from_bytes(hashlib.sha512(r_octets + public_key(seed) + message).digest(), "little")
    return r_octets + ((r + k * scalar) % ed25519.ORDER).to_bytes(32, "little")


def public_key(seed):
    """The public key of a secret seed (RFC 8032, 5.1.5)."""
    return _encode_point(ed25519.multiply(_expand(seed)[0], ed25519.BASE))


def _expand(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    return scalar, digest[32:]


def _encode_point(point):
    inverse = pow(point[2], ed25519.P - 2, ed25519.P)
    x, y = point[0] * inverse % ed25519.P, point[1] * inverse % ed25519.P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def verifier_key(name, seed):
    """A verifier key in text."""
    key = public_key(seed)
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(bytes([1]) + key).decode()}"


def note(text, name, seed):
    """A note signed once."""
    signature = key_id(name, public_key(seed)) + sign(seed, text.encode())
    return f"{text}\n\u2014 {name} {base64.b64encode(signature).decode()}\n".encode()


class BitWriter:
    """Bits, the lowest of a number first."""

    def __init__(self):
        self.written = []

    def bits(self, number, width):
        self.written += [number >> place & 1 for place in range(width)]
        return self

    def count(self, number):
        width = (number + 1).bit_length() - 1
        return self.bits(0, width).bits(1, 1).bits(number + 1 - (1 << width), width)

    def rice(self, gap, k):
        return self.bits(0, gap >> k).bits(1, 1).bits(gap, k)

    def best_k(self, gaps):
        costs = [sum((gap >> k) + 1 + k for gap in gaps) for k in range(64)]
        k = costs.index(min(costs))
        self.bits(k, 6)
        return k

    def ascending(self, numbers):
        gaps = [number - before - 1 for before, number in zip([-1] + numbers, numbers)]
        k = self.best_k(gaps)
        for gap in gaps:
            self.rice(gap, k)
        return self

    def frame(self, numbers, width):
        if numbers:
            beyond = (max(numbers) - min(numbers)).bit_length()
            self.bits(min(numbers), width).bits(beyond, 6)
            for number in numbers:
                self.bits(number - min(numbers), beyond)
        return self

    def octets(self):
        padded = self.written + [0] * (-len(self.written) % 8)
        return bytes(
            sum(bit << place for place, bit in enumerate(padded[at : at + 8])) for at in range(0, len(padded), 8)
        )


FIELDS = (("deadline", 32), ("profile", 21), ("subject", 32))


def _write_changes(stream, before, after):
    groups = {}
    for index, (old, new) in enumerate(zip(before, after)):
        mask = int(old.status != new.status)
        mask |= sum(2 << bit for bit, (name, _) in enumerate(FIELDS) if getattr(old, name) != getattr(new, name))
        if mask:
            groups.setdefault((mask, new.status if mask & 1 else 0), []).append((index, new))
    stream.count(len(groups))
    for (mask, status), members in sorted(groups.items()):
        stream.bits(mask, 4).bits(status, 2 * (mask & 1)).count(len(members))
        stream.ascending([index for index, _ in members])
        for bit, (name, width) in enumerate(FIELDS):
            if mask & 2 << bit:
                stream.frame([getattr(row, name) for _, row in members], width)


def delta_body(before, after):
    """The body that leads from one state to another of the same epoch."""
    header = before.base.header
    known = len(before.profiles)
    replaced = [n for n, old in enumerate(before.profiles) if old != after.profiles[n]]
    section = b"".join(profile.encode() for profile in after.profiles[known:])
    section += b"".join(struct.pack("<I", n) + after.profiles[n].encode() for n in replaced)
    there = {row.tag for row in before.added_rows}
    additions = [row for row in after.added_rows if row.tag not in there]
    octets = b"NLDLTA" + struct.pack("<HIII", 3, len(before.base_rows), len(before.added_rows), known)
    octets += struct.pack("<BBH", header.tag_bits(), header.columns, 0)
    octets += struct.pack("<III", len(after.profiles) - known, len(replaced), len(section)) + section
    stream = BitWriter()
    _write_changes(stream, before.base_rows, after.base_rows)
    _write_changes(stream, before.added_rows, [row for row in after.added_rows if row.tag in there])
    stream.count(len(additions))
    if additions:
        beyond = header.tag_bits() - 128
        firsts = [row.tag >> (64 + beyond) for row in additions]
        gaps = [first - last for last, first in zip([0] + firsts, firsts)]
        k = stream.best_k(gaps)
        for gap, row in zip(gaps, additions):
            stream.rice(gap, k).bits(row.tag >> beyond, 64).bits(row.tag, beyond)
    stream.frame([row.status for row in additions], 2).frame([int(row.foreign) for row in additions], 1)
    for row in additions:
        stream.bits(int(row.deadline != 0), 1)
    stream.frame([row.deadline for row in additions if row.deadline], 32)
    stream.frame([row.profile for row in additions], 21)
    for bit, column in ((1, "subject"), (2, "number")):
        if header.columns & bit:
            stream.frame([getattr(row, column) for row in additions], 32)
    return octets + stream.octets()


def rebase_record(before, after, removed_tags, commitment_before):
    """The record that leads from a last state to the base of the next epoch."""
    header = after.header
    octets = b"NLRBSE" + struct.pack(
        "<H4Q32s4IBBHI32s",
        1,
        *(header.incarnation, header.epoch, header.version, header.cutoff),
        commitment_before,
        *(len(before.base_rows), len(before.added_rows), len(before.profiles), len(after.profiles)),
        *(header.bucket_bits, header.columns, 0, len(after.rows), header.set_id.encode()),
    )
    stream = BitWriter()
    for rows in (before.base_rows, before.added_rows):
        removed = [index for index, row in enumerate(rows) if row.tag in removed_tags]
        stream.count(len(removed))
        if removed:
            stream.ascending(removed)
    for profile in before.profiles:
        stays = profile in after.profiles
        stream.bits(int(stays), 1)
        if stays:
            stream.bits(after.profiles.index(profile), (len(after.profiles) - 1).bit_length())
    return octets + stream.octets()


class SetWriter:
    """Puts the files of one set into a directory."""

    def __init__(self, directory, set_id, seed):
        self.directory, self.set_id, self.seed = directory, set_id, seed
        self.name = f"nightlatch/{set_id}"
        os.makedirs(os.path.join(directory, "files"), exist_ok=True)

    def put(self, name, octets):
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(octets)

    def put_base(self, header, files):
        name = f"files/base-{header.incarnation}-{header.epoch}"
        self.put(name, files.index)
        for k, part in enumerate(files.parts):
            self.put(f"{name}-{k}", part)

    def put_deltas(self, states):
        """All levels between the states of one epoch; gives the commitment at each."""
        header = states[0].base.header
        commitments = [states[0].commitment]
        for before, after in zip(states, states[1:]):
            link = hashlib.sha256(delta_body(before, after)).digest()
            commitments.append(commitment(commitments[-1], link))
        for to in range(1, len(states)):
            step = 1
            while to % step == 0 and step <= to:
                self._put_delta(header, states, commitments, to - step, to)
                step *= 2
        return commitments

    def _put_delta(self, header, states, commitments, start, end):
        body = delta_body(states[start], states[end])
        first, last = header.version + start, header.version + end
        text = (
            f"nightlatch.delta/3\nset {self.set_id}\nincarnation {header.incarnation}\nepoch {header.epoch}\n"
            f"from {first}\nto {last}\nfrom-commitment {commitments[start].hex()}\n"
            f"to-commitment {commitments[end].hex()}\nbody {hashlib.sha256(body).hexdigest()}\n"
        )
        signed = note(text, self.name, self.seed)
        name = f"files/delta-{header.incarnation}-{header.epoch}-{first}-{last}"
        self.put(name, struct.pack("<I", len(signed)) + signed + body)

    def put_head(self, fields):
        """The head with these values by name, in the order given."""
        text = "nightlatch.head/4\n" + "".join(f"{name} {value}\n" for name, value in fields.items())
        self.put("head", note(text, self.name, self.seed))
