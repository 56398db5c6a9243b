"""ristretto255 (RFC 9496) in plain integers.

The group's elements are classes of points of the twisted Edwards curve -x² + y² = 1 + d·x²·y² over the integers modulo
p = 2²⁵⁵ - 19; the encoding picks one representative per class, so that every element has exactly one encoding and every
encoding that decodes at all is canonical. Names of steps and constants are those of the RFC.

Variable-time throughout: for verification and for tests only.
"""

from __future__ import annotations

from collections.abc import Iterable

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
"""The prime order of the group, ℓ in the protocol."""

D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


class InvalidElement(ValueError):
    """Bytes that are no canonical encoding of a group element or scalar."""


def _is_negative(x: int) -> bool:
    return x % P & 1 == 1


def _abs(x: int) -> int:
    return -x % P if _is_negative(x) else x % P


def sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """Section 4.2: (True, √(u/v)) if u/v is a square, else (False, √(SQRT_M1·u/v)); the root is nonnegative."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    correct = check == u % P
    flipped = check == -u % P
    flipped_i = check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        r = r * SQRT_M1 % P
    return correct or flipped, _abs(r)


A_MINUS_D = (-1 - D) % P
INVSQRT_A_MINUS_D = sqrt_ratio_m1(1, A_MINUS_D)[1]
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P


class Element:
    """A group element, held as one of its representatives in extended coordinates (x = X/Z, y = Y/Z, T = XY/Z)."""

    __slots__ = ("x", "y", "z", "t")

    def __init__(self, x: int, y: int, z: int, t: int) -> None:
        self.x, self.y, self.z, self.t = x, y, z, t

    @classmethod
    def decode(cls, data: bytes) -> Element:
        """Section 4.3.1. The identity decodes; whoever must not accept it says so (`decode_element`)."""
        if len(data) != 32:
            raise InvalidElement(f"an element has 32 bytes, not {len(data)}")
        s = int.from_bytes(data, "little")
        if s >= P:
            raise InvalidElement("not a canonical field element")
        if _is_negative(s):
            raise InvalidElement("a negative field element")
        ss = s * s % P
        u1 = (1 - ss) % P
        u2 = (1 + ss) % P
        u2_sqr = u2 * u2 % P
        v = (-(D * u1 * u1) - u2_sqr) % P
        was_square, invsqrt = sqrt_ratio_m1(1, v * u2_sqr)
        den_x = invsqrt * u2 % P
        den_y = invsqrt * den_x * v % P
        x = _abs(2 * s * den_x)
        y = u1 * den_y % P
        t = x * y % P
        if not was_square or _is_negative(t) or y == 0:
            raise InvalidElement("not an encoding of a group element")
        return cls(x, y, 1, t)

    def encode(self) -> bytes:
        """Section 4.3.2: the element's 32 bytes."""
        u1 = (self.z + self.y) * (self.z - self.y) % P
        u2 = self.x * self.y % P
        _, invsqrt = sqrt_ratio_m1(1, u1 * u2 * u2)
        den1 = invsqrt * u1 % P
        den2 = invsqrt * u2 % P
        z_inv = den1 * den2 * self.t % P
        if _is_negative(self.t * z_inv):
            x, y = self.y * SQRT_M1 % P, self.x * SQRT_M1 % P
            den_inv = den1 * INVSQRT_A_MINUS_D % P
        else:
            x, y, den_inv = self.x, self.y, den2
        if _is_negative(x * z_inv):
            y = -y % P
        return _abs(den_inv * (self.z - y)).to_bytes(32, "little")

    def __eq__(self, other: object) -> bool:
        """Section 4.3.3."""
        if not isinstance(other, Element):
            return NotImplemented
        return (self.x * other.y - self.y * other.x) % P == 0 or (self.y * other.y - self.x * other.x) % P == 0

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"Element({self.encode().hex()})"

    def __add__(self, other: Element) -> Element:
        a = (self.y - self.x) * (other.y - other.x) % P
        b = (self.y + self.x) * (other.y + other.x) % P
        c = 2 * D * self.t * other.t % P
        d = 2 * self.z * other.z % P
        e, f, g, h = b - a, d - c, d + c, b + a
        return Element(e * f % P, g * h % P, f * g % P, e * h % P)

    def __neg__(self) -> Element:
        return Element(-self.x % P, self.y, self.z, -self.t % P)

    def __sub__(self, other: Element) -> Element:
        return self + -other

    def _double(self) -> Element:
        a = self.x * self.x % P
        b = self.y * self.y % P
        c = 2 * self.z * self.z % P
        h = a + b
        e = h - (self.x + self.y) ** 2 % P
        g = a - b
        f = c + g
        return Element(e * f % P, g * h % P, f * g % P, e * h % P)

    def __rmul__(self, scalar: int) -> Element:
        """scalar·self, by windows of four bits."""
        multiples = [IDENTITY, self]
        for _ in range(14):
            multiples.append(multiples[-1] + self)
        result = IDENTITY
        for nibble in f"{scalar % ORDER:064x}":
            for _ in range(4):
                result = result._double()
            result = result + multiples[int(nibble, 16)]
        return result


IDENTITY = Element(0, 1, 1, 0)
GENERATOR = Element.decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))


def _map(t: int) -> Element:
    """Section 4.3.4, the MAP function."""
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio_m1(u, v)
    if was_square:
        c = P - 1
    else:
        s = -_abs(s * t) % P
        c = r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0 = 2 * s * v % P
    w1 = n * SQRT_AD_MINUS_ONE % P
    w2 = (1 - s * s) % P
    w3 = (1 + s * s) % P
    return Element(w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P)


def one_way_map(uniform: bytes) -> Element:
    """Section 4.3.4: an element whose discrete logarithm nobody knows, from 64 uniform bytes."""
    if len(uniform) != 64:
        raise InvalidElement(f"element derivation takes 64 bytes, not {len(uniform)}")
    halves = (int.from_bytes(half, "little") % 2**255 for half in (uniform[:32], uniform[32:]))
    first, second = (_map(t % P) for t in halves)
    return first + second


def decode_element(data: bytes) -> Element:
    """An element that came from somebody else: canonical, and not the identity (protocol section 1)."""
    element = Element.decode(data)
    if element == IDENTITY:
        raise InvalidElement("the identity is refused")
    return element


def decode_scalar(data: bytes) -> int:
    """A scalar of 32 bytes, little-endian, below ℓ."""
    if len(data) != 32:
        raise InvalidElement(f"a scalar has 32 bytes, not {len(data)}")
    value = int.from_bytes(data, "little")
    if value >= ORDER:
        raise InvalidElement("the scalar is not reduced modulo the group order")
    return value


def encode_scalar(value: int) -> bytes:
    """The 32 bytes of a scalar."""
    return (value % ORDER).to_bytes(32, "little")


def lagrange_at(indices: Iterable[int], at: int = 0) -> dict[int, int]:
    """For each index i its coefficient λ_i, so that f(at) = Σ λ_i·f(i) for polynomials of degree below their number."""
    points = list(indices)
    if len(set(points)) != len(points):
        raise ValueError("an index appears twice")
    coefficients = {}
    for i in points:
        numerator, denominator = 1, 1
        for j in points:
            if j != i:
                numerator = numerator * (at - j) % ORDER
                denominator = denominator * (i - j) % ORDER
        coefficients[i] = numerator * pow(denominator, -1, ORDER) % ORDER
    return coefficients
