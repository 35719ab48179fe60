"""Sums of floats that do not depend on the order of their addends: in fixed point.

A GPU adds to an array by atomics, in any order, so sums of floats would differ from run to run.
Here an addend v is rounded to a whole number of units, which integers add exactly:

    unit = M / 2**22,  M the power of two above the largest |v| of all that one array gets in a step
    v = (upper 2**11 + lower) unit,  |upper| <= 2**11,  0 <= lower < 2**11

Both limbs are summed in int32. At most `LANES` addends of a target come between two calls of
`carry`, which moves what is above 11 bits from the lower limb to the upper one: so the lower limb
stays below 2**19 2**11 = 2**30. The upper one changes by less than 2**30 in between, and `carry`
makes the sum NaN where it has left +-2**30, so no overflow is missed; that is where one target gets
more than 2**19 times the largest weight in one step. After `carry` the pair is unique, whatever was
added in which order, and so is the float that it stands for.

The error of an addend is at most half a unit, M 2**-23, which is at most 2**-22 of the largest
addend; that of the conversion to float32 is at most 2**-23 of the sum.
"""

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

LANES = 2**19 - 1
"""Largest number of addends of a target between two calls of `carry`."""

BITS = 11
SMALLEST, LARGEST = 64, 252
"""Exponents of float32, with their bias, of the largest addend: below, M is that of the smallest
(2**-62); above, or if an addend is not finite, the sum is not a number."""


@struct.dataclass(kw_only=True)
class Sum:
    """A sum in fixed point, for every entry of an array."""

    limbs: Array
    """upper and lower limb, int32 [entries, 2]"""
    largest: Array
    """the largest magnitude of an addend, or NaN after an overflow: float32 scalar"""


def empty(entries: int) -> Sum:
    """The sum of nothing."""
    return Sum(limbs=jnp.zeros((entries, 2), jnp.int32), largest=jnp.float32(0))


def largest(so_far: Array, values: Array, real: Array) -> Array:
    """The largest magnitude, of those so far and of the values that are real; NaN if one is NaN."""
    return jnp.maximum(so_far, jnp.max(jnp.where(real, jnp.abs(values), 0), initial=0))


def split(values: Array, largest: Array) -> Array:
    """Values as limbs: float32 [...] to int32 [..., 2]."""
    whole = jnp.round(values * _power(148 - _exponent(largest))).astype(jnp.int32)
    return jnp.stack([whole >> BITS, whole & (2**BITS - 1)], axis=-1)


def carry(total: Sum) -> Sum:
    """The same sum with 11 bits in the lower limb; NaN if the upper one is near an overflow."""
    upper, lower = total.limbs[..., 0], total.limbs[..., 1]
    upper = upper + (lower >> BITS)
    overflows = jnp.any((upper > 2**30) | (upper < -(2**30)))
    return Sum(
        limbs=jnp.stack([upper, lower & (2**BITS - 1)], axis=-1),
        largest=jnp.where(overflows, jnp.nan, total.largest),
    )


def value(total: Sum) -> Array:
    """The sums as floats, float32 [entries]; NaN in all of them if an addend was not finite."""
    upper, lower = total.limbs[..., 0], total.limbs[..., 1]
    # Both products are with powers of two and so exact: a product and a sum round once.
    levels = upper.astype(jnp.float32) * 2.0**BITS + lower.astype(jnp.float32)
    unit = _power(_exponent(total.largest) - 148)
    finite = total.largest < 2.0 ** (LARGEST - 126)
    return jnp.where(finite, levels * unit, jnp.nan)


def _exponent(largest: Array) -> Array:
    """The exponent of the largest addend, with its bias, int32 scalar."""
    bits = lax.bitcast_convert_type(largest, jnp.int32)
    return jnp.clip((bits >> 23) & 0xFF, SMALLEST, LARGEST)


def _power(exponent: Array) -> Array:
    """Two to an int32 exponent from -126 to 127, float32."""
    return lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)
