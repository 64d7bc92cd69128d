"""Decimal text <-> exact number: how a price keeps its text in eight bytes and a bit.

The exchange prints decimals; computing wants float64. A number is kept as three parts:

    value      the float64 nearest to the decimal, exactly ``float(text)``
    residual   mantissa - round(value * 10**scale): 0 while the mantissa is below 2**52, and
               within an int16 up to 2**69 (20 digits), where float64 alone has run out
    format     low four bits: scale; high four bits: zeros printed after the scaled digits

The text is ``round(value * 10**scale) + residual`` with the point put back. Both roundings are
exact integer arithmetic in 128 bits, so the way back never depends on the compiler or the CPU.
A decimal that does not fit is refused (``NUMBER_UNREPRESENTABLE``), never rounded.
"""

from libc.math cimport ldexp
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    typedef unsigned __int128 kc_u128;
    typedef __int128 kc_i128;

    static const double kc_power_double[16] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    static const uint64_t kc_power_int[16] = {
        1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull,
        100000000ull, 1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull,
        10000000000000ull, 100000000000000ull, 1000000000000000ull};
    static const char kc_pairs[201] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";

    static inline int kc_bits(kc_u128 x) {
        uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;
        return high ? 128 - __builtin_clzll(high) : low ? 64 - __builtin_clzll(low) : 0;
    }
    static inline uint64_t kc_double_bits(double x) {
        uint64_t bits;
        memcpy(&bits, &x, 8);
        return bits;
    }
    #define kc_likely(x) __builtin_expect(!!(x), 1)
    #define kc_unlikely(x) __builtin_expect(!!(x), 0)
    """
    ctypedef unsigned long long u128 "kc_u128"
    ctypedef long long i128 "kc_i128"
    const double* power_double "kc_power_double"
    const uint64_t* power_int "kc_power_int"
    const char* digit_pairs "kc_pairs"
    int bit_count "kc_bits"(u128 x) noexcept nogil
    uint64_t double_bits "kc_double_bits"(double x) noexcept nogil
    bint likely "kc_likely"(bint x) noexcept nogil
    bint unlikely "kc_unlikely"(bint x) noexcept nogil

cdef enum:
    NUMBER_OK = 0
    NUMBER_MALFORMED = 1        # not `0|[1-9][0-9]*` with an optional `.[0-9]+`
    NUMBER_UNREPRESENTABLE = 2  # a plain decimal with more digits than can be kept exactly
    SCALE_MAX = 15              # significant decimals, and zeros printed after them
    DIGITS_MAX = 38             # what 128 bits hold
    NUMBER_TEXT_MAX = 72        # bytes the longest printed number can take

cdef struct Number:
    double value
    int16_t residual
    uint8_t format


cdef inline double nearest_double(u128 mantissa, int scale) noexcept nogil:
    """``mantissa / 10**scale`` correctly rounded (half to even), mantissa below 2**127."""
    if mantissa == 0:
        return 0.0
    cdef int shift = 127 - bit_count(mantissa)
    cdef u128 numerator = mantissa << shift
    cdef u128 divisor = power_int[scale]
    cdef u128 quotient = numerator / divisor
    cdef bint sticky = quotient * divisor != numerator
    # 63 bits and one sticky bit round to 53 in hardware exactly as the endless quotient would.
    cdef int drop = bit_count(quotient) - 63
    cdef uint64_t top
    if drop > 0:
        sticky = sticky or (quotient & ((<u128>1 << drop) - 1)) != 0
        top = <uint64_t>(quotient >> drop)
    else:
        top = <uint64_t>quotient
        drop = 0
    return ldexp(<double>(top | sticky), drop - shift)


cdef inline u128 scaled_integer(double value, int scale) noexcept nogil:
    """``round(value * 10**scale)``, half up, exact; value non-negative and below 2**76."""
    cdef uint64_t bits = double_bits(value)
    cdef int exponent = <int>(bits >> 52)
    if exponent == 0:
        return 0    # zero; subnormals are far below half a unit of any scale
    cdef u128 product = <u128>((bits & 0xFFFFFFFFFFFFFULL) | 0x10000000000000ULL) * power_int[scale]
    exponent -= 1075
    if exponent >= 0:
        return product << exponent
    if exponent <= -126:
        return 0
    return (product + (<u128>1 << (-exponent - 1))) >> -exponent


cdef inline int number_wide(
    u128 mantissa, int decimals, bint keep_residual, Number* out
) noexcept nogil:
    """The slow road of ``number_make``: big mantissas, many decimals, prices with residuals."""
    cdef int zeros = 0
    cdef i128 residual = 0
    cdef double value
    if bit_count(mantissa) > 122:
        return NUMBER_UNREPRESENTABLE
    if decimals <= SCALE_MAX:
        value = nearest_double(mantissa, decimals)
        if value < 7.5e22:
            residual = <i128>mantissa - <i128>scaled_integer(value, decimals)
            if residual == 0 or (keep_residual and -32768 <= residual <= 32767):
                out.value = value
                out.residual = <int16_t>residual
                out.format = <uint8_t>decimals
                return NUMBER_OK
    # Printed zeros carry no information: without them the mantissa is often short enough.
    while decimals > 0 and zeros < SCALE_MAX and mantissa % 10 == 0:
        mantissa = mantissa / 10
        decimals -= 1
        zeros += 1
    if decimals > SCALE_MAX:
        return NUMBER_UNREPRESENTABLE
    value = nearest_double(mantissa, decimals)
    if value >= 7.5e22:
        return NUMBER_UNREPRESENTABLE
    residual = <i128>mantissa - <i128>scaled_integer(value, decimals)
    if residual != 0 and not (keep_residual and -32768 <= residual <= 32767):
        return NUMBER_UNREPRESENTABLE
    out.value = value
    out.residual = <int16_t>residual
    out.format = <uint8_t>(decimals | zeros << 4)
    return NUMBER_OK


cdef inline int number_make(
    uint64_t mantissa, int decimals, bint keep_residual, Number* out
) noexcept nogil:
    """Number of a mantissa and its printed decimals; ``keep_residual`` for volume columns."""
    if likely(mantissa < (1ULL << 52) and decimals <= SCALE_MAX):
        # Both operands are exact, so one division is correctly rounded, and the way back is
        # within half a unit: no residual.
        out.value = <double>mantissa / power_double[decimals]
        out.residual = 0
        out.format = <uint8_t>decimals
        return NUMBER_OK
    return number_wide(mantissa, decimals, keep_residual, out)


cdef inline const char* number_read(
    const char* p, const char* end, bint keep_residual, Number* out, int* status
) noexcept nogil:
    """Read a plain decimal at ``p``; returns the byte after it, NULL if there is none.

    ``status`` tells a decimal that cannot be kept from one that was.
    """
    cdef const char* start = p
    cdef const char* point = NULL
    cdef uint64_t mantissa = 0
    cdef u128 wide = 0
    cdef unsigned int digit
    cdef int digits, decimals = 0
    while p < end:
        digit = <unsigned int>(<unsigned char>p[0]) - c'0'
        if digit > 9:
            break
        mantissa = mantissa * 10 + digit
        p += 1
    digits = <int>(p - start) if p - start < 1000 else 1000
    if digits == 0 or (digits > 1 and start[0] == c'0'):
        status[0] = NUMBER_MALFORMED
        return NULL
    if p < end and p[0] == c'.':
        p += 1
        point = p
        while p < end:
            digit = <unsigned int>(<unsigned char>p[0]) - c'0'
            if digit > 9:
                break
            mantissa = mantissa * 10 + digit
            p += 1
        decimals = <int>(p - point) if p - point < 1000 else 1000
        if decimals == 0:
            status[0] = NUMBER_MALFORMED
            return NULL
        digits += decimals
    if likely(digits <= 19):
        status[0] = number_make(mantissa, decimals, keep_residual, out)
    else:
        # More than 19 digits overflowed 64 bits above: leading zeros do not count, read again.
        if digits > DIGITS_MAX:
            status[0] = NUMBER_UNREPRESENTABLE
            return p
        for digit in range(<unsigned int>(p - start)):
            if start[digit] != c'.':
                wide = wide * 10 + <unsigned int>(start[digit] - c'0')
        status[0] = number_wide(wide, decimals, keep_residual, out)
    return p


# Printing goes backwards, as digits come out of a division: each function writes so that the
# text ends just before ``p`` and returns its first byte.

cdef inline char* write_bytes(char* p, const char* text, Py_ssize_t size) noexcept nogil:
    p -= size
    memcpy(p, text, size)
    return p


cdef inline char* write_pair(char* p, uint32_t value) noexcept nogil:
    memcpy(p - 2, digit_pairs + 2 * value, 2)
    return p - 2


cdef inline char* write_eight(char* p, uint32_t value) noexcept nogil:
    """Eight digits with leading zeros; short divisions that do not wait for one another."""
    cdef uint32_t high = value / 10000
    cdef uint32_t low = value - high * 10000
    cdef uint32_t part = low / 100
    memcpy(p - 2, digit_pairs + 2 * (low - part * 100), 2)
    memcpy(p - 4, digit_pairs + 2 * part, 2)
    part = high / 100
    memcpy(p - 6, digit_pairs + 2 * (high - part * 100), 2)
    memcpy(p - 8, digit_pairs + 2 * part, 2)
    return p - 8


cdef inline char* write_uint(char* p, uint64_t value) noexcept nogil:
    cdef uint64_t above
    cdef uint32_t low, rest
    while value >= 100000000:
        above = value / 100000000
        p = write_eight(p, <uint32_t>(value - above * 100000000))
        value = above
    low = <uint32_t>value
    while low >= 100:
        rest = low / 100
        p = write_pair(p, low - rest * 100)
        low = rest
    if low >= 10:
        return write_pair(p, low)
    p -= 1
    p[0] = <char>(c'0' + low)
    return p


cdef inline char* write_int(char* p, int64_t value) noexcept nogil:
    if value >= 0:
        return write_uint(p, <uint64_t>value)
    p = write_uint(p, 0 - <uint64_t>value)
    p -= 1
    p[0] = c'-'
    return p


cdef inline char* write_number(
    char* p, double value, int16_t residual, uint8_t format
) noexcept nogil:
    """Print a stored number; at most ``NUMBER_TEXT_MAX`` bytes."""
    cdef int scale = format & 15
    cdef int zeros = format >> 4
    cdef int left = scale
    cdef double product = value * power_double[scale]
    cdef uint64_t mantissa, rest
    cdef u128 wide
    while zeros > 0:
        p -= 1
        p[0] = c'0'
        zeros -= 1
    if likely(product < 2251799813685248.0 and residual == 0):     # 2**51: off by less than a half
        mantissa = <uint64_t>(product + 0.5)
    else:
        wide = <u128>(<i128>scaled_integer(value, scale) + residual)
        while bit_count(wide) > 63 and left > 0:
            p -= 1
            p[0] = <char>(c'0' + <int>(wide % 10))
            wide = wide / 10
            left -= 1
        if bit_count(wide) > 63:        # no decimals left, and still more than 64 bits hold
            if format:
                p -= 1
                p[0] = c'.'
            while bit_count(wide) > 63:
                p -= 1
                p[0] = <char>(c'0' + <int>(wide % 10))
                wide = wide / 10
            return write_uint(p, <uint64_t>wide)
        mantissa = <uint64_t>wide
    if left >= 8:
        rest = mantissa / 100000000
        p = write_eight(p, <uint32_t>(mantissa - rest * 100000000))
        mantissa = rest
        left -= 8
    while left >= 2:
        rest = mantissa / 100
        p = write_pair(p, <uint32_t>(mantissa - rest * 100))
        mantissa = rest
        left -= 2
    if left:
        rest = mantissa / 10
        p -= 1
        p[0] = <char>(c'0' + (mantissa - rest * 10))
        mantissa = rest
    if format:
        p -= 1
        p[0] = c'.'
    return write_uint(p, mantissa)
