"""Reading numbers of a JPEG XL codestream: bit fields, and entropy-coded numbers.

Only the ICC profile and a frame's permuted table of contents need the entropy decoder, so its code is short rather
than fast. Source: ISO/IEC 18181-1, annexes B (bit fields) and C (entropy decoding); where that is unclear,
libjxl's `fields.cc`, `dec_ans.cc` and `dec_huffman.cc`. For any input, only ValueError can be raised.
"""

from collections.abc import Sequence

_LOG_RANGE = 12
_RANGE = 1 << _LOG_RANGE
_FINAL_STATE = 0x130000
_WINDOW = 1 << 20
_PREFIX_BITS = 15
_MOST_CLUSTERS = 256
# Prefix code of the logarithms of a distribution's counts, by length and bits, the first bit lowest; the last
# two symbols stand for an omitted count and a run of equal counts.
_LOG_COUNTS = {
    (3, 0b000): 10,
    (3, 0b010): 7,
    (3, 0b100): 6,
    (3, 0b101): 8,
    (3, 0b110): 9,
    (4, 0b0011): 3,
    (4, 0b0111): 5,
    (4, 0b1001): 4,
    (4, 0b1011): 1,
    (4, 0b1111): 2,
    (5, 0b10001): 0,
    (6, 0b100001): 11,
    (7, 0b0000001): 12,
    (7, 0b1000001): 13,
}
_RUN = 13
_LENGTH_ORDER = (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15)
# Code of the lengths of a prefix code's own code, by length and bits, the first bit lowest.
_LENGTH_LENGTHS = {(2, 0b00): 0, (2, 0b01): 4, (2, 0b10): 3, (3, 0b011): 2, (4, 0b0111): 1, (4, 0b1111): 5}


class EndsEarlyError(ValueError):
    """The data ends too early."""


class Bits:
    """Reads bit fields, starting with the lowest bit of each byte.

    Attributes:
        at: Position of the next bit.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self._data = data
        self._end = len(data) * 8
        self.at = at

    def take(self, count: int) -> int:
        """Read a number of `count` bits.

        Raises:
            EndsEarlyError: The data ends too early.
        """
        at = self.at
        end = at + count
        if end > self._end:
            raise EndsEarlyError("it ends too early")
        self.at = end
        return (int.from_bytes(self._data[at >> 3 : (end + 7) >> 3], "little") >> (at & 7)) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Read one bit."""
        return self.take(1) == 1

    def u32(self, *choices: tuple[int, int]) -> int:
        """Read a number in one of four ways, each given as a number of bits and an offset to add."""
        count, offset = choices[self.take(2)]
        return self.take(count) + offset

    def u64(self) -> int:
        """Read a number of up to 64 bits."""
        kind = self.take(2)
        if kind < 3:
            return (0, 1, 17)[kind] + self.take((0, 4, 8)[kind])
        value, shift = self.take(12), 12
        while self.flag():
            if shift == 60:
                return value | self.take(4) << shift
            value |= self.take(8) << shift
            shift += 8
        return value

    def enum(self) -> int:
        """Read a value of an enumeration."""
        return self.u32((0, 0), (0, 1), (4, 2), (6, 18))

    def f16(self) -> float:
        """Read a 16-bit floating-point number."""
        bits = self.take(16)
        exponent, fraction = bits >> 10 & 31, bits & 1023
        if exponent == 31:
            raise ValueError("a number is infinite")
        value = (fraction / 1024 + (exponent > 0)) * 2.0 ** (max(exponent, 1) - 15)
        return -value if bits >> 15 else value

    def skip(self, count: int) -> None:
        """Skip `count` bits."""
        self.at += count
        if self.at > self._end:
            raise EndsEarlyError("it ends too early")

    def align(self) -> None:
        """Skip to the next byte boundary."""
        self.at = (self.at + 7) & ~7

    def extensions(self) -> None:
        """Skip extensions that later versions of the format added to a header."""
        present = self.u64()
        self.skip(sum(self.u64() for _ in range(present.bit_count())))


class Entropy:
    """Reads entropy-coded numbers, each in a context."""

    def __init__(self, bits: Bits, contexts: int, *, copies: bool = True) -> None:
        """Read the parameters of the code.

        Args:
            bits: Bits to read from.
            contexts: Number of contexts.
            copies: Whether the stream can repeat earlier numbers.
        """
        self._bits = bits
        self._threshold = 1 << 32
        self._shortest = 0
        self._length_config = (0, 0, 0)
        if bits.flag():
            if not copies:
                raise ValueError("an entropy code has an invalid repetition")
            self._threshold = bits.u32((0, 224), (0, 512), (0, 4096), (15, 8))
            self._shortest = bits.u32((0, 3), (0, 4), (2, 5), (8, 9))
            self._length_config = _read_config(bits, 8)
            contexts += 1
        self._clusters = _read_clusters(bits, contexts)
        count = max(self._clusters) + 1
        self._prefixed = bits.flag()
        log_alphabet = _PREFIX_BITS if self._prefixed else bits.take(2) + 5
        self._configs = [_read_config(bits, log_alphabet) for _ in range(count)]
        self._prefixes: list[_Prefix] = []
        self._tables: list[_Table] = []
        if self._prefixed:
            sizes = [_small(bits, 4) + 1 for _ in range(count)]
            if max(sizes) > 1 << _PREFIX_BITS:
                raise ValueError("an alphabet is too large")
            self._prefixes = [_read_prefix(bits, size) for size in sizes]
            self._state = _FINAL_STATE
        else:
            self._tables = [_Table(_read_counts(bits), log_alphabet) for _ in range(count)]
            self._state = bits.take(32)
        self._before: list[int] = []
        self._copying, self._from = 0, 0

    def read(self, context: int) -> int:
        """Read the next number."""
        if self._threshold >> 32:
            cluster = self._clusters[context]
            return self._number(self._configs[cluster], self._symbol(cluster))
        if not self._copying:
            cluster = self._clusters[context]
            symbol = self._symbol(cluster)
            if symbol < self._threshold:
                value = self._number(self._configs[cluster], symbol)
                self._before.append(value)
                return value
            self._copying = self._number(self._length_config, symbol - self._threshold) + self._shortest
            cluster = self._clusters[-1]
            distance = self._number(self._configs[cluster], self._symbol(cluster)) + 1
            self._from = len(self._before) - min(distance, len(self._before), _WINDOW)
        self._copying -= 1
        value = self._before[self._from] if self._from < len(self._before) else 0  # 0 before the first number
        self._from += 1
        self._before.append(value)
        return value

    def finish(self) -> None:
        """Check that the stream ends here.

        Raises:
            ValueError: The stream doesn't end here.
        """
        if self._state != _FINAL_STATE:
            raise ValueError("an entropy-coded stream is broken")

    def _symbol(self, cluster: int) -> int:
        if self._prefixed:
            return self._prefixes[cluster].read(self._bits)
        symbol, self._state = self._tables[cluster].read(self._state)
        if self._state < 1 << 16:
            self._state = self._state << 16 | self._bits.take(16)
        return symbol

    def _number(self, config: tuple[int, int, int], token: int) -> int:
        exponent, high, low = config
        if token < 1 << exponent:
            return token
        count = exponent - high - low + ((token - (1 << exponent)) >> (high + low))
        if count > 31:
            raise ValueError("a number is too large")
        top = 1 << high | token >> low & ((1 << high) - 1)
        return ((top << count | self._bits.take(count)) << low | token & ((1 << low) - 1)) & 0xFFFFFFFF


class _Prefix:
    """A prefix code."""

    def __init__(self, lengths: Sequence[tuple[int, int]]) -> None:
        self._symbols: dict[int, int] = {}
        self._only = lengths[0][1] if len(lengths) == 1 else -1
        code, before = 1, 0  # with a leading one, so that codes of all lengths fit into one table
        for length, symbol in lengths:
            code <<= length - before
            self._symbols[code] = symbol
            code, before = code + 1, length

    def read(self, bits: Bits) -> int:
        """Read a symbol."""
        if self._only >= 0:
            return self._only
        code = 1
        for _ in range(_PREFIX_BITS):
            code = code << 1 | bits.take(1)
            symbol = self._symbols.get(code)
            if symbol is not None:
                return symbol
        raise ValueError("a prefix code is broken")


class _Table:
    """A distribution for asymmetric numeral systems (ANS), as an alias table."""

    def __init__(self, counts: list[int], log_alphabet: int) -> None:
        size = 1 << log_alphabet
        if len(counts) > size or sum(counts) != _RANGE:
            raise ValueError("a distribution is broken")
        self._log_entry = _LOG_RANGE - log_alphabet
        entry = _RANGE >> log_alphabet
        self._counts = counts + [0] * (size - len(counts))
        self._others, self._offsets = list(range(size)), [0] * size
        if _RANGE in counts:
            self._cutoffs = [0] * size
            self._others = [counts.index(_RANGE)] * size
            self._offsets = [entry * i for i in range(size)]
            return
        room = self._counts.copy()
        over = [i for i, count in enumerate(room) if count > entry]
        under = [i for i, count in enumerate(room) if count < entry]
        while over:
            giver, taker = over.pop(), under.pop()
            room[giver] -= entry - room[taker]
            self._others[taker], self._offsets[taker] = giver, room[giver] - room[taker]
            if room[giver] < entry:
                under.append(giver)
            elif room[giver] > entry:
                over.append(giver)
        self._cutoffs = room

    def read(self, state: int) -> tuple[int, int]:
        """Return the symbol of a state, and the next state."""
        low = state & (_RANGE - 1)
        symbol, offset = low >> self._log_entry, low & ((1 << self._log_entry) - 1)
        if offset >= self._cutoffs[symbol]:
            offset += self._offsets[symbol]
            symbol = self._others[symbol]
        return symbol, self._counts[symbol] * (state >> _LOG_RANGE) + offset


def _small(bits: Bits, count: int) -> int:
    """Read a number whose length precedes it in `count` bits."""
    if not bits.flag():
        return 0
    length = bits.take(count)
    return bits.take(length) + (1 << length)


def _by_code(bits: Bits, code: dict[tuple[int, int], int]) -> int:
    value = length = 0
    while length < 7:
        value |= bits.take(1) << length
        length += 1
        symbol = code.get((length, value))
        if symbol is not None:
            return symbol
    raise ValueError("a code is broken")


def _read_config(bits: Bits, log_alphabet: int) -> tuple[int, int, int]:
    exponent = bits.take(log_alphabet.bit_length())
    if exponent > log_alphabet:
        raise ValueError("an entropy code is broken")
    high = low = 0
    if exponent != log_alphabet:
        high = bits.take(exponent.bit_length())
        if high > exponent:
            raise ValueError("an entropy code is broken")
        low = bits.take((exponent - high).bit_length())
    if high + low > exponent:
        raise ValueError("an entropy code is broken")
    return exponent, high, low


def _read_clusters(bits: Bits, contexts: int) -> list[int]:
    """Read the index of the distribution for each context."""
    if contexts == 1:
        return [0]
    if bits.flag():
        count = bits.take(2)
        clusters = [bits.take(count) for _ in range(contexts)]
    else:
        to_front = bits.flag()
        entropy = Entropy(bits, 1, copies=contexts > 2)
        clusters = [entropy.read(0) for _ in range(contexts)]
        entropy.finish()
        if max(clusters) >= _MOST_CLUSTERS:
            raise ValueError("an entropy code is broken")
        if to_front:
            recent = list(range(_MOST_CLUSTERS))
            for i, place in enumerate(clusters):
                clusters[i] = recent.pop(place)
                recent.insert(0, clusters[i])
    if len(set(clusters)) != max(clusters) + 1:
        raise ValueError("an entropy code is broken")
    return clusters


def _read_counts(bits: Bits) -> list[int]:
    """Read a distribution: the frequency of each symbol out of 4096."""
    if bits.flag():
        symbols = [_small(bits, 3) for _ in range(bits.take(1) + 1)]
        counts = [0] * (max(symbols) + 1)
        if len(symbols) == 1:
            counts[symbols[0]] = _RANGE
            return counts
        if symbols[0] == symbols[1]:
            raise ValueError("a distribution is broken")
        counts[symbols[0]] = bits.take(_LOG_RANGE)
        counts[symbols[1]] = _RANGE - counts[symbols[0]]
        return counts
    if bits.flag():
        size = _small(bits, 3) + 1
        return [_RANGE // size + (i < _RANGE % size) for i in range(size)]
    return _read_written_counts(bits)


def _read_written_counts(bits: Bits) -> list[int]:
    log = 0
    while log < 3 and bits.flag():
        log += 1
    shift = (bits.take(log) | 1 << log) - 1
    if shift > _LOG_RANGE + 1:
        raise ValueError("a distribution is broken")
    length = _small(bits, 3) + 3
    logs: list[int] = []
    runs: dict[int, int] = {}
    while len(logs) < length:
        symbol = _by_code(bits, _LOG_COUNTS)
        if symbol == _RUN:
            runs[len(logs)] = _small(bits, 3) + 4
            logs += [-1] * runs[len(logs)]
        else:
            logs.append(symbol - 1)
    biggest = max(logs)
    omitted = logs.index(biggest)
    if biggest < 0 or omitted + 1 in runs:
        raise ValueError("a distribution is broken")
    counts: list[int] = []
    while len(counts) < length:
        i = len(counts)
        if i in runs:
            counts += [counts[-1] if counts else 0] * runs[i]
        elif i == omitted or logs[i] < 0:
            counts.append(0)
        else:
            count = max(0, min(logs[i], shift - ((_LOG_RANGE - logs[i]) >> 1)))
            counts.append((1 << logs[i]) + (bits.take(count) << (logs[i] - count)))
    del counts[length:]  # excess of a run beyond the last symbol
    counts[omitted] = _RANGE - sum(counts)
    if counts[omitted] <= 0:
        raise ValueError("a distribution is broken")
    return counts


def _read_prefix(bits: Bits, size: int) -> _Prefix:
    if size == 1:
        return _Prefix([(0, 0)])
    kind = bits.take(2)
    if kind == 1:
        return _read_simple_prefix(bits, size)
    lengths = [0] * 18
    space = 32
    for i in _LENGTH_ORDER[kind:]:
        if space <= 0:
            break
        lengths[i] = _by_code(bits, _LENGTH_LENGTHS)
        space -= 32 >> lengths[i] if lengths[i] else 0
    if space and sum(length > 0 for length in lengths) != 1:
        raise ValueError("a prefix code is broken")
    return _prefix_of(_read_lengths(bits, _prefix_of(lengths), size))


def _read_simple_prefix(bits: Bits, size: int) -> _Prefix:
    count = bits.take(2) + 1
    symbols = [bits.take((size - 1).bit_length()) for _ in range(count)]
    if len(set(symbols)) < count or max(symbols) >= size:
        raise ValueError("a prefix code is broken")
    if count == 4 and bits.flag():
        return _Prefix([(1, symbols[0]), (2, symbols[1]), *((3, symbol) for symbol in sorted(symbols[2:]))])
    if count == 3:
        return _Prefix([(1, symbols[0]), *((2, symbol) for symbol in sorted(symbols[1:]))])
    return _Prefix([((0, 1, 1, 2)[count - 1], symbol) for symbol in sorted(symbols)])


def _read_lengths(bits: Bits, code: _Prefix, size: int) -> list[int]:
    lengths: list[int] = []
    space, last, repeat, repeated = 32768, 8, 0, 0
    while len(lengths) < size and space > 0:
        symbol = code.read(bits)
        if symbol < 16:
            repeat = 0
            lengths.append(symbol)
            if symbol:
                last = symbol
                space -= 32768 >> symbol
            continue
        length = last if symbol == 16 else 0
        if repeated != length:
            repeat, repeated = 0, length
        before = repeat
        if repeat:
            repeat = (repeat - 2) << (symbol - 14)
        repeat += bits.take(symbol - 14) + 3
        if len(lengths) + repeat - before > size:
            raise ValueError("a prefix code is broken")
        lengths += [length] * (repeat - before)
        if length:
            space -= (repeat - before) << (15 - length)
    if space:
        raise ValueError("a prefix code is broken")
    return lengths


def _prefix_of(lengths: list[int]) -> _Prefix:
    return _Prefix(sorted((length, symbol) for symbol, length in enumerate(lengths) if length))
