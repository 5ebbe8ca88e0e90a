"""Strict Ed25519 verification, after RFC 8032 section 5.1, with integers as Python has them.

Slow and not constant-time: it only ever sees public data.
"""

import hashlib

from refusal import Refused, require

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z and x·y = T/Z.
IDENTITY = (0, 1, 1, 0)


def _recover_x(y, sign):
    """The x of the curve point with this y and this lowest bit of x, or None."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        # "Minus zero" would be a second spelling of the same point.
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * SQRT_MINUS_ONE % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x & 1 != sign else x


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = _recover_x(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def add(left, right):
    """The sum of two points (RFC 8032, 5.1.4; complete, so it doubles as well)."""
    a = (left[1] - left[0]) * (right[1] - right[0]) % P
    b = (left[1] + left[0]) * (right[1] + right[0]) % P
    c = 2 * left[3] * right[3] * D % P
    d = 2 * left[2] * right[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    """`scalar` times `point`."""
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def same_point(left, right):
    """Whether two points are equal, whatever their Z."""
    return (
        (left[0] * right[2] - right[0] * left[2]) % P == 0
        and (left[1] * right[2] - right[1] * left[2]) % P == 0
    )


def decode_point(octets, what):
    """The point that 32 bytes stand for; refuses second spellings and points of small order."""
    require(len(octets) == 32, f"{what}: not 32 bytes")
    number = int.from_bytes(octets, "little")
    y, sign = number & (2**255 - 1), number >> 255
    require(y < P, f"{what}: not a canonical encoding")
    x = _recover_x(y, sign)
    if x is None:
        raise Refused(f"{what}: not a point of the curve")
    point = (x, y, 1, x * y % P)
    require(not same_point(multiply(8, point), IDENTITY), f"{what}: a point of small order")
    return point


def verify(public_key, message, signature):
    """Refuses unless `signature` is `public_key`'s over `message`."""
    require(len(signature) == 64, "signature: not 64 bytes")
    key_point = decode_point(public_key, "public key")
    r_point = decode_point(signature[:32], "signature's R")
    s = int.from_bytes(signature[32:], "little")
    require(s < ORDER, "signature's S: not a canonical encoding")
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % ORDER
    # Without the cofactor: the stricter of the two equations that the RFC allows.
    right = add(r_point, multiply(k, key_point))
    require(same_point(multiply(s, BASE), right), "signature: does not fit the text and the key")
