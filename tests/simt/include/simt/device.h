// What kernels see, and how they are launched.
#pragma once

#include <simt/arithmetic.h>
#include <simt/atomic.h>
#include <simt/index.h>
#include <simt/launch.h>
#include <simt/qualifiers.h>
#include <simt/types.h>
#include <simt/warp.h>
