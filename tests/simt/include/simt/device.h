// What kernels see, and how they are launched.
#pragma once

#include "simt/types.h"
