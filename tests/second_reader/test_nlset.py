"""The primitives, held against bytes that are spelled out by hand. `python3 -m unittest discover -s tests/second_reader`"""

import hashlib
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ed25519
import notes
from base import BaseHeader, decode_base, encode_base
from bits import BitReader, cheapest_rice_parameter
from delta import decode_body
from nlset import commitment, parse_head, path, tag_of_digest
from records import Profile, Row, SectionReader
from refusal import Refused
from tiny_writer import BitWriter, note, sign, verifier_key

# Section 7.1 of RFC 8032: secret key, public key, message, signature.
RFC_8032_VECTORS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        bytes.fromhex("72"),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        bytes.fromhex("af82"),
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
)
SEED = bytes(range(32))


def octets_of(bits):
    """Bytes of bits written out in the order of the stream; blanks are for the eye."""
    bits = bits.replace(" ", "")
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def reader(bits):
    return BitReader(octets_of(bits))


class Ed25519Test(unittest.TestCase):
    def test_rfc_8032_vectors(self):
        for secret, public, message, signature in RFC_8032_VECTORS:
            public, signature = bytes.fromhex(public), bytes.fromhex(signature)
            ed25519.verify(public, message, signature)
            self.assertEqual(sign(bytes.fromhex(secret), message), signature)
            for place in (0, 33):
                wrong = bytearray(signature)
                wrong[place] ^= 1
                with self.assertRaises(Refused):
                    ed25519.verify(public, message, bytes(wrong))
            with self.assertRaisesRegex(Refused, "does not fit"):
                ed25519.verify(public, message + b"x", signature)

    def test_second_spellings_and_small_orders_are_refused(self):
        _, public, message, signature = RFC_8032_VECTORS[1]
        public, signature = bytes.fromhex(public), bytes.fromhex(signature)
        larger = int.from_bytes(signature[32:], "little") + ed25519.ORDER
        with self.assertRaisesRegex(Refused, "S: not a canonical"):
            ed25519.verify(public, message, signature[:32] + larger.to_bytes(32, "little"))
        small = (1, 0, ed25519.P - 1)  # of order 1, 4 and 2
        for y in small:
            with self.assertRaisesRegex(Refused, "small order"):
                ed25519.verify(y.to_bytes(32, "little"), message, signature)
        for number in (ed25519.P + 3, ed25519.P + 1, 2**255 - 1):
            with self.assertRaisesRegex(Refused, "canonical"):
                ed25519.decode_point(number.to_bytes(32, "little"), "key")
        with self.assertRaisesRegex(Refused, "not a point"):
            ed25519.decode_point((1 | 1 << 255).to_bytes(32, "little"), "key")


class BitsTest(unittest.TestCase):
    def test_bits_begin_with_the_lowest(self):
        stream = BitReader(bytes([0b1010_0110, 0b0000_0001]))
        self.assertEqual([stream.bits(3), stream.bits(0), stream.bits(6)], [0b110, 0, 0b110100])
        stream.finish()

    def test_wide_numbers(self):
        self.assertEqual(BitReader(b"\0" * 7 + b"\x80").bits(64), 1 << 63)

    def test_counts(self):
        for bits, number in (("1", 0), ("01 0", 1), ("01 1", 2), ("001 00", 3), ("001 10", 4), ("001 11", 6)):
            stream = reader(bits)
            self.assertEqual(stream.count(6, "things"), number)
            stream.finish()

    def test_ascending(self):
        # 0, 1, 4 are the gaps 0, 0, 2; k = 0 takes 5 bits, k = 1 takes 7.
        self.assertEqual(reader("000000 1 1 001").ascending(3, 5), [0, 1, 4])
        # 5, 11 are the gaps 5, 5; k = 2 takes 8 bits, k = 1 as many less none: 2·(2 + 1 + 1) = 8, the smaller wins.
        self.assertEqual(cheapest_rice_parameter([5, 5]), 1)
        self.assertEqual(reader("100000 001 1 001 1").ascending(2, 12), [5, 11])

    def test_frame(self):
        self.assertEqual(reader("101000 00 010000 00 11 01").frame(8, 3), [5, 8, 7])
        self.assertEqual(reader("11 000000").frame(2, 4), [3, 3, 3, 3])
        self.assertEqual(reader("").frame(32, 0), [])

    def test_truncated_streams_are_refused(self):
        for read in (
            lambda: BitReader(b"").bits(1),
            lambda: BitReader(b"\xff").bits(9),
            lambda: BitReader(b"\0\0").count(9, "things"),
            lambda: reader("0000 0001").count(1000, "things"),
            lambda: reader("000000 1").ascending(3, 9),
            lambda: reader("000000 0 0").ascending(2, 9),
            lambda: reader("00 010000").frame(2, 1),
        ):
            with self.assertRaisesRegex(Refused, "ends inside"):
                read()

    def test_oversized_counts_and_numbers_are_refused(self):
        with self.assertRaisesRegex(Refused, "at most 2"):
            reader("001 00").count(2, "things")
        with self.assertRaisesRegex(Refused, "run of zeros"):
            BitReader(bytes(100)).count(1 << 40, "things")
        with self.assertRaisesRegex(Refused, "ends inside a list"):
            reader("000000 1 1").ascending(1 << 32, 1 << 32)
        with self.assertRaisesRegex(Refused, "ends inside a frame"):
            reader("00 100000 0 1").frame(2, 1 << 32)
        with self.assertRaisesRegex(Refused, "more numbers"):
            reader("000000 1 1 1").ascending(3, 2)
        with self.assertRaisesRegex(Refused, "too long"):
            reader("000000 0001").ascending(1, 3)
        with self.assertRaisesRegex(Refused, "too large"):
            reader("11 100000 0 1").frame(2, 2)
        with self.assertRaisesRegex(Refused, "wider than its numbers"):
            reader("00 110000 000 111").frame(2, 2)

    def test_second_spellings_are_refused(self):
        with self.assertRaisesRegex(Refused, "where 0 is due"):
            reader("100000 10 10").ascending(2, 9)
        with self.assertRaisesRegex(Refused, "wider than it has to be"):
            reader("00 010000 00 10").frame(2, 2)
        with self.assertRaisesRegex(Refused, "least number"):
            reader("00 100000 1 1").frame(2, 2)

    def test_endings(self):
        stream = reader("1 0000001")
        stream.bits(1)
        with self.assertRaisesRegex(Refused, "padding"):
            stream.finish()
        stream = BitReader(b"\x01\0")
        stream.bits(1)
        with self.assertRaisesRegex(Refused, "bytes after"):
            stream.finish()
        stream = BitReader(b"\x01\0")
        stream.bits(8)
        with self.assertRaisesRegex(Refused, "bytes after"):
            stream.finish()

    def test_what_is_written_is_read(self):
        numbers = [3, 4, 900, 901, 70_000]
        stream = BitReader(BitWriter().count(5).ascending(numbers).frame(numbers, 21).octets())
        self.assertEqual(stream.count(5, "things"), 5)
        self.assertEqual(stream.ascending(5, 70_001), numbers)
        self.assertEqual(stream.frame(21, 5), numbers)
        stream.finish()


class NoteTest(unittest.TestCase):
    NAME = "nightlatch/s"

    def setUp(self):
        self.verifier = notes.parse_verifier(verifier_key(self.NAME, SEED))
        self.note = note("one\ntwo\n", self.NAME, SEED)

    def open(self, octets):
        return notes.open_note(octets, [self.verifier], "note")

    def test_a_right_note_opens(self):
        self.assertEqual(self.open(self.note), "one\ntwo\n")
        stranger = self.note + note("one\ntwo\n", "else/where", bytes(32)).split(b"\n\n")[1]
        self.assertEqual(self.open(stranger), "one\ntwo\n")

    def test_wrong_notes_are_refused(self):
        line = self.note.split(b"\n\n")[1]
        for octets, why in (
            (self.note.replace(b"two", b"twO"), "wrongly signed"),
            (note("one\ntwo\n", self.NAME, bytes(32)), "not signed by a known"),
            (self.note[:-1], "not a signed note"),
            (b"one\ntwo\n", "not a signed note"),
            (self.note + line * 16, "more than 16"),
            (b"x" * 20_000, "more than 16384"),
            (self.note.replace(b"one", b"\tone"), "control"),
            (self.note.replace(b"one", b"\xff"), "UTF-8"),
            (self.note.replace("\u2014".encode(), b"-"), "malformed"),
        ):
            with self.assertRaisesRegex(Refused, why):
                self.open(octets)

    def test_spellings(self):
        for text in ("01", "+1", "", "1 ", str(1 << 64), "\u0661"):
            with self.assertRaises(Refused):
                notes.parse_number(text, "number")
        self.assertEqual(notes.parse_number(str((1 << 64) - 1), "number"), (1 << 64) - 1)
        for text in ("AA", "0", "\u0661\u0661"):
            with self.assertRaises(Refused):
                notes.parse_hex(text, 1, "hash")
        for octets in (bytes(32), b"a\0b".ljust(32, b"\0"), b"\xe9".ljust(32, b"\0")):
            with self.assertRaises(Refused):
                notes.unpad_id(octets, "id")
        with self.assertRaisesRegex(Refused, "second spelling|not base64"):
            notes.decode_base64("AB==", "key")

    def test_heads_of_other_versions_are_refused_by_name(self):
        with self.assertRaisesRegex(Refused, "nightlatch.head/5"):
            parse_head("nightlatch.head/5\n")


class BaseTest(unittest.TestCase):
    HEADER = BaseHeader(3, 7, 1, 1, 0, 0, 0, "s", "w", "p")
    PROFILE = Profile(0, 0, False, None, False, "t", ("a", "b"))
    ROW = Row(int.from_bytes(bytes(range(1, 17)), "big"), 2, False, 0, 5, None, None)

    def test_one_key_byte_by_byte(self):
        profile = bytes([0, 0, 0, 1]) + b"t" + bytes([2, 0, 1]) + b"a" + b"\1b"
        block = b"\x01" + bytes(range(2, 17)) + bytes([2, 0, 0]) + struct.pack("<I", 5)
        directory = struct.pack("<2H", 0, 1)
        leaf = hashlib.sha256(bytes(5) + directory + block).digest()
        core = b"NLBASE" + struct.pack("<H4Q3I", 3, 7, 1, 1, 0, 1, 1, len(profile)) + bytes(12)
        core += b"".join(name.ljust(32, b"\0") for name in (b"s", b"w", b"p")) + bytes(32)
        core += profile + struct.pack("<2I", 0, 1) + hashlib.sha256(b"\1" + leaf).digest()
        files = encode_base(self.HEADER, [self.PROFILE], [self.ROW])
        self.assertEqual(files.index, core + leaf + directory)
        self.assertEqual(files.parts, (block,))
        self.assertEqual(files.root(), hashlib.sha256(core).digest())
        base = decode_base(files.index, lambda k, length: block)
        self.assertEqual((base.header, base.profiles, base.rows), (self.HEADER, (self.PROFILE,), (self.ROW,)))

    def test_an_empty_base_has_no_part(self):
        files = encode_base(self.HEADER, [], [])
        self.assertEqual(files.parts, ())
        self.assertEqual(decode_base(files.index, None).rows, ())

    def test_changed_bits_are_refused(self):
        files = encode_base(self.HEADER, [self.PROFILE], [self.ROW])
        block = bytearray(files.parts[0])
        block[-1] ^= 0x80
        with self.assertRaisesRegex(Refused, "leaves|core"):
            decode_base(files.index, lambda k, length: bytes(block))
        # The version, the header's numbers and ids and the profile are anyone's choice; the head's root is what fixes them.
        after_profile = 192 + len(self.PROFILE.encode())
        for place in [*range(6), 7, *range(40, 64), *range(160, 192), *range(after_profile, len(files.index))]:
            for bit in range(8):
                index = bytearray(files.index)
                index[place] ^= 1 << bit
                with self.assertRaises(Refused, msg=f"byte {place}, bit {bit}"):
                    decode_base(bytes(index), lambda k, length: files.parts[0].ljust(length, b"\0")[:length])

    def test_profiles(self):
        for octets, why in (
            (b"\4\0\0\0\0\0", "kind"),
            (b"\0\2\0\0\0\0", "environment"),
            (b"\0\0\2\0\0\0", "flags"),
            (b"\0\0\4\0\0\0", "flags"),
            (b"\0\0\0\1\x1f\0\0", "printable"),
            (b"\0\0\0\0\2\0\1b\1a", "ascend"),
            (b"\0\0\0\0\1\0\0", "0 characters"),
            (b"\0\0\0\0\1\4", "1025 scopes"),
            (b"\0\0\1\0\0", "end early"),
        ):
            with self.assertRaisesRegex(Refused, why):
                SectionReader(octets, "base", True).profile()

    def test_a_refused_profile_is_none_of_the_version_before(self):
        octets = b"\0\0\3\5\0\0\0\0\0\0"
        profile = SectionReader(octets, "base", True).profile()
        self.assertEqual((profile.live, profile.subject, profile.refused, profile.encode()), (True, 5, True, octets))
        with self.assertRaisesRegex(Refused, "flags"):
            SectionReader(octets, "base", False).profile()


class DeltaBodyTest(unittest.TestCase):
    def body(self, bits, keys=4, tag_bits=128, columns=0):
        return b"NLDLTA" + struct.pack("<HIIIBBHIII", 3, keys, 0, 1, tag_bits, columns, 0, 0, 0, 0) + octets_of(bits)

    def test_no_changes_are_in_order(self):
        body = decode_body(self.body("1 1 1"), 3)
        self.assertEqual((body.base_changes, body.added_changes, body.additions), ({}, {}, ()))

    def test_changes_by_hand(self):
        # One group: mask 1, status 3, two keys 1 and 2 (gaps 1, 0; k = 0).
        body = decode_body(self.body("010 1000 11 011 000000 01 1 1 1"), 3)
        self.assertEqual(body.base_changes, {1: {"status": 3}, 2: {"status": 3}})

    def test_an_addition_by_hand(self):
        # First 64 bits 0, the next 64 are 1, active, not foreign, no deadline, profile 0.
        tag = "000000 1 1" + "0" * 63
        body = decode_body(self.body("1 1 010" + tag + "00 000000 0 000000 0" + "0" * 27), 3)
        self.assertEqual(body.additions, (Row(1, 0, False, 0, 0, None, None),))

    def test_wrong_bodies_are_refused(self):
        for bits, why in (
            ("010 0000", "changes nothing"),
            ("010 0001 1", "without them"),
            ("010 1000 00 1", "no keys"),
            ("011 1000 10 010 000000 1 1000 10 010 000000 01", "groups do not ascend"),
            ("011 1000 10 010 000000 1 1000 01 010 000000 1", "two groups"),
            ("00110 1000", "ends inside"),
            ("00111 1000", "at most 4"),
            ("1 010", "at most 0"),
            ("1 1 0000001000000", "additions, where at most"),
            ("1 1 1 00001", "padding"),
        ):
            with self.assertRaisesRegex(Refused, why):
                decode_body(self.body(bits), 3)


class ArithmeticTest(unittest.TestCase):
    def test_paths(self):
        self.assertEqual(list(path(10, 10)), [])
        self.assertEqual(list(path(10, 17)), [(10, 14), (14, 16), (16, 17)])
        self.assertEqual(list(path(1, 4, single_steps=True)), [(1, 2), (2, 3), (3, 4)])

    def test_commitment_and_tag(self):
        spelled = hashlib.sha256(b"nightlatch.commitment/1" + bytes(32) + b"\1" * 32).digest()
        self.assertEqual(commitment(bytes(32), b"\1" * 32), spelled)
        block = b"nightlatch.tag/1" + b"s" + bytes(15) + b"\2" * 32
        self.assertEqual(len(block), 64)
        self.assertEqual(tag_of_digest("s", b"\2" * 32, b"\3" * 32), hashlib.sha256(block + b"\3" * 32).digest()[:17])


if __name__ == "__main__":
    unittest.main()
