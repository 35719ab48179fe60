// Threefry, as on the CPU, and the keys of model/noise.py.

#pragma once

#include "../cpu/threefry.h"
#include "device.h"

// The key that belongs to a number under a key: `noise.fold`.
DEVICE Pair fold(Pair key, uint32_t number) { return threefry(key, {0, number}); }
