// Threefry, as on the CPU, with the keys and chances of model/noise.py.

#pragma once

#include "../cpu/chance.h"
#include "../cpu/threefry.h"
#include "device.h"

// Whether 64 random bits are below a chance: `noise.below`.
DEVICE bool below(Pair drawn, float chance) {
  return chance >= 1.0f || under(drawn.a ^ drawn.b, drawn.b, limit_of(chance));
}
