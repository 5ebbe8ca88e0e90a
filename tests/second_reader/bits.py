"""Bit streams: numbers written bit by bit, the lowest bit of a byte and of a number first.

Every number has one spelling here. What a writer "takes" by the page (the cheapest Rice parameter, the narrowest frame) is
required, so that two writers cannot give different bodies for the same change.
"""

from refusal import Refused, require

# Keys and profiles are counted in 4 bytes everywhere else in the format.
COUNT_MAX_BITS = 32


def rice_cost(gaps, k):
    """Bits that `gaps` take when Rice-coded with parameter `k`, without the parameter."""
    return sum(gap >> k for gap in gaps) + len(gaps) * (k + 1)


def cheapest_rice_parameter(gaps):
    """The k of 0..63 that needs the fewest bits, the smallest of equals."""
    best, best_cost = 0, rice_cost(gaps, 0)
    for k in range(1, 64):
        if len(gaps) * (k + 1) >= best_cost:
            break  # from here on the fixed bits alone cost as much
        cost = rice_cost(gaps, k)
        if cost < best_cost:
            best, best_cost = k, cost
    return best


class BitReader:
    """Reads one stream. Every method refuses to go past the end, before it allocates anything."""

    def __init__(self, octets):
        self._octets = octets
        self._at = 0
        self._end = 8 * len(octets)

    def left(self):
        """Bits not yet read, padding included."""
        return self._end - self._at

    def bits(self, width):
        """A number of `width` bits."""
        require(width <= self.left(), "bit stream: ends inside a number")
        first, after = self._at // 8, (self._at + width + 7) // 8
        number = int.from_bytes(self._octets[first:after], "little") >> self._at % 8
        self._at += width
        return number & ((1 << width) - 1)

    def zeros(self, most):
        """How many zeros stand before the next one, which is read too; at most `most`."""
        zeros = 0
        while self.bits(1) == 0:
            zeros += 1
            require(zeros <= most, "bit stream: a run of zeros is too long")
        return zeros

    def count(self, most, what):
        """A count (Elias gamma of the number plus one), at most `most`."""
        width = self.zeros(COUNT_MAX_BITS)
        number = (1 << width | self.bits(width)) - 1
        require(number <= most, f"bit stream: {number} {what}, where at most {most} can be")
        return number

    def rice(self, k, largest):
        """One Rice-coded number, at most `largest`."""
        number = self.zeros(largest >> k) << k
        number |= self.bits(k)
        require(number <= largest, "bit stream: a number is too large")
        return number

    def ascending(self, count, below):
        """`count` (at least one) strictly ascending numbers, all less than `below`."""
        require(count >= 1, "bit stream: a list of no numbers")
        k = self.bits(6)
        require(count * (k + 1) <= self.left(), "bit stream: ends inside a list")
        numbers, gaps, least = [], [], 0
        for _ in range(count):
            require(least < below, "bit stream: more numbers than there can be")
            gap = self.rice(k, below - 1 - least)
            gaps.append(gap)
            numbers.append(least + gap)
            least += gap + 1
        self.require_cheapest(gaps, k)
        return numbers

    def require_cheapest(self, gaps, k):
        """Refuses a Rice parameter that a writer does not take for these gaps."""
        best = cheapest_rice_parameter(gaps)
        require(k == best, f"bit stream: Rice parameter {k}, where {best} is due")

    def frame(self, width, count):
        """`count` numbers of at most `width` bits, as a least one and what the others have beyond it."""
        if count == 0:
            return []
        least = self.bits(width)
        beyond_bits = self.bits(6)
        require(beyond_bits <= width, "bit stream: a frame is wider than its numbers")
        require(count * beyond_bits <= self.left(), "bit stream: ends inside a frame")
        beyond = [self.bits(beyond_bits) for _ in range(count)]
        require(min(beyond) == 0, "bit stream: a frame's least number is not among its numbers")
        require(max(beyond).bit_length() == beyond_bits, "bit stream: a frame is wider than it has to be")
        require(least + max(beyond) < 1 << width, "bit stream: a number is too large")
        return [least + extra for extra in beyond]

    def finish(self):
        """Refuses anything after the last number but zeros up to a whole byte."""
        require(self.left() < 8, "bit stream: bytes after its end")
        if self.bits(self.left()) != 0:
            raise Refused("bit stream: its padding is not zero")
