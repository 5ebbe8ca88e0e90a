"""Signed notes (https://c2sp.org/signed-note), verifier keys, and texts of one `name value` line per field."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

import ed25519
from refusal import Refused, require

NOTE_MAX_BYTES = 16 * 1024
SIGNATURES_MAX = 16
SIGNATURE_START = "\u2014 "
ALGORITHM_ED25519 = b"\x01"
ID = re.compile(r"[0-9A-Za-z_-]{1,32}")


def decode_base64(text, what):
    """Bytes of standard base64 in its one spelling."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"{what}: not base64") from None
    require(base64.b64encode(octets).decode() == text, f"{what}: a second spelling in base64")
    return octets


@dataclass(frozen=True)
class Verifier:
    """A signer that this reader knows."""

    name: str
    key_id: bytes
    public_key: bytes


def key_id(name, public_key):
    """The four bytes by which signature lines name a key."""
    return hashlib.sha256(name.encode() + b"\n" + ALGORITHM_ED25519 + public_key).digest()[:4]


def parse_verifier(text):
    """A verifier key `name+hash+base64(0x01 ‖ public key)`."""
    # The base64 may hold a `+` of its own, so only the first two part the fields.
    fields = text.split("+", 2)
    require(len(fields) == 3, "verifier key: not name+hash+key")
    name, hash_text, key_text = fields
    require(name.startswith("nightlatch/"), "verifier key: its name is not nightlatch/{set id}")
    parse_id(name.removeprefix("nightlatch/"), "verifier key's set")
    key = decode_base64(key_text, "verifier key")
    require(len(key) == 33 and key[:1] == ALGORITHM_ED25519, "verifier key: not an Ed25519 key")
    verifier = Verifier(name, key_id(name, key[1:]), key[1:])
    require(hash_text == verifier.key_id.hex(), "verifier key: its hash is not that of name and key")
    ed25519.decode_point(verifier.public_key, "verifier key")
    return verifier


def _well_formed_name(name):
    return name != "" and "+" not in name and not any(char.isspace() for char in name)


def open_note(octets, verifiers, what):
    """The text of a note that at least one of `verifiers` has signed, and none wrongly."""
    require(len(octets) <= NOTE_MAX_BYTES, f"{what}: a note of more than {NOTE_MAX_BYTES} bytes")
    try:
        note = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{what}: not UTF-8") from None
    require(not any(char < " " and char != "\n" for char in note), f"{what}: control characters in a note")
    body, separator, signatures = note.rpartition("\n\n")
    require(separator and signatures.endswith("\n"), f"{what}: not a signed note")
    text = body + "\n"
    lines = signatures[:-1].split("\n")
    require(len(lines) <= SIGNATURES_MAX, f"{what}: more than {SIGNATURES_MAX} signatures")
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    right = 0
    for line in lines:
        require(line.startswith(SIGNATURE_START), f"{what}: a malformed signature line")
        name, space, signature_text = line.removeprefix(SIGNATURE_START).partition(" ")
        require(space and _well_formed_name(name), f"{what}: a malformed signature line")
        signature = decode_base64(signature_text, f"{what}: a signature line")
        require(len(signature) > 4, f"{what}: a signature line is too short")
        verifier = known.get((name, signature[:4]))
        if verifier is None:
            continue
        try:
            ed25519.verify(verifier.public_key, text.encode(), signature[4:])
        except Refused as refusal:
            raise Refused(f"{what}: wrongly signed by {name}: {refusal}") from None
        right += 1
    require(right > 0, f"{what}: not signed by a known signer")
    return text


def parse_fields(text, first_line, names, what):
    """The values of a text that has exactly `first_line` and then one line for each of `names`, in this order."""
    require(text.endswith("\n"), f"{what}: its last line does not end")
    lines = text[:-1].split("\n")
    require(lines[0] == first_line, f"{what}: it begins with {lines[0]!r}, and this reader knows {first_line!r} only")
    require(len(lines) == len(names) + 1, f"{what}: {len(lines)} lines, and {len(names) + 1} are due")
    values = {}
    for name, line in zip(names, lines[1:]):
        found, space, value = line.partition(" ")
        require(found == name and space and value, f"{what}: a line {line!r}, where {name!r} and its value are due")
        values[name] = value
    return values


def parse_number(text, what):
    """A decimal number of at most 64 bits, without leading zeros."""
    require(re.fullmatch(r"0|[1-9][0-9]{0,19}", text) is not None, f"{what}: {text!r} is not a number in its one spelling")
    number = int(text)
    require(number < 1 << 64, f"{what}: a number of more than 64 bits")
    return number


def parse_hex(text, length, what):
    """`length` bytes in lower-case hex."""
    require(re.fullmatch(r"[0-9a-f]*", text) is not None and len(text) == 2 * length, f"{what}: not {length} bytes in hex")
    return bytes.fromhex(text)


def parse_id(text, what):
    """An id: 1 to 32 of `[0-9A-Za-z_-]`."""
    require(ID.fullmatch(text) is not None, f"{what}: {text!r} is not an id")
    return text


def unpad_id(octets, what):
    """An id from its 32 bytes in a binary field."""
    stripped = octets.rstrip(b"\0")
    require(all(byte < 128 for byte in stripped), f"{what}: not an id")
    return parse_id(stripped.decode("ascii"), what)


def pad_id(text):
    """An id as the 32 bytes of a binary field."""
    return text.encode("ascii").ljust(32, b"\0")
