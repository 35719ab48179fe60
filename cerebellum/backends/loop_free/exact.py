"""Sums of floats that do not depend on the order of their addends: in fixed point.

A GPU adds to an array by atomics, in any order, so sums of floats would differ from run to run.
Here an addend v of a target is rounded to a whole number of units, which integers add exactly:

    unit = M / 2**22,  M the power of two above the largest |v| that this target gets in the step
    v = (upper 2**11 + lower) unit,  |upper| <= 2**11,  0 <= lower < 2**11

The largest magnitude is found first, by its exponent alone, and a largest number does not depend on
an order either. As each target has its own unit, a shard gives what the whole circuit gives.

Both limbs are summed in int32. At most `LANES` addends of a target come between two calls of
`carry`, which moves what is above 11 bits from the lower limb to the upper one: so the lower limb
stays below 2**19 2**11 = 2**30. The upper one changes by less than 2**30 in between, and `carry`
makes the sum NaN where it has left +-2**30, so no overflow is missed; that is where a target gets
more than 2**19 times its largest weight in one step. After `carry` the pair is unique, whatever was
added in which order, and so is the float that it stands for.

The error of an addend is at most half a unit, M 2**-23, which is at most 2**-22 of the target's
largest addend; that of the conversion to float32 is at most 2**-23 of the sum.
"""

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

LANES = 2**19 - 1
"""Largest number of addends of a target between two calls of `carry`."""

BITS = 11
SMALLEST, LARGEST = 64, 252
"""Exponents of float32, with their bias. If the largest addend has a smaller one, M is 2**-62; if
it has a larger one (2**126), or is not finite, the sum is not a number."""


@struct.dataclass(kw_only=True)
class Sum:
    """A sum in fixed point, for every entry of an array."""

    limbs: Array
    """upper and lower limb, int32 [entries, 2]"""
    exponent: Array
    """exponent of the largest addend, with its bias; 255 if the sum is not a number: int32
    [entries]"""


def empty(entries: int) -> Sum:
    """The sum of nothing."""
    return Sum(limbs=jnp.zeros((entries, 2), jnp.int32), exponent=jnp.zeros(entries, jnp.int32))


def exponent_of(values: Array) -> Array:
    """The exponents of float32 numbers, with their bias, int32; 255 for what is not finite."""
    return (lax.bitcast_convert_type(values, jnp.int32) >> 23) & 0xFF


def split(values: Array, exponent: Array) -> Array:
    """Values as limbs: float32 [...] to int32 [..., 2].

    Args:
      exponent: of the largest addend of the value's target.
    """
    whole = jnp.round(values * _power(148 - _bounded(exponent))).astype(jnp.int32)
    return jnp.stack([whole >> BITS, whole & (2**BITS - 1)], axis=-1)


def carry(total: Sum) -> Sum:
    """The same sum with 11 bits in the lower limb; NaN where the upper one is near an overflow."""
    upper, lower = total.limbs[..., 0], total.limbs[..., 1]
    upper = upper + (lower >> BITS)
    overflows = (upper > 2**30) | (upper < -(2**30))
    return Sum(
        limbs=jnp.stack([upper, lower & (2**BITS - 1)], axis=-1),
        exponent=jnp.where(overflows, 255, total.exponent),
    )


def value(total: Sum) -> Array:
    """A carried sum as floats, float32 [entries]."""
    upper, lower = total.limbs[..., 0], total.limbs[..., 1]
    # Both products are with powers of two and so exact: a product and a sum round once.
    levels = upper.astype(jnp.float32) * 2.0**BITS + lower.astype(jnp.float32)
    unit = _power(_bounded(total.exponent) - 148)
    return jnp.where(total.exponent <= LARGEST, levels * unit, jnp.nan)


def _bounded(exponent: Array) -> Array:
    return jnp.clip(exponent, SMALLEST, LARGEST)


def _power(exponent: Array) -> Array:
    """Two to an int32 exponent from -126 to 127, float32."""
    return lax.bitcast_convert_type((exponent + 127) << 23, jnp.float32)
