// What the host asks of the CUDA runtime.
#pragma once

#include <simt/stream.h>
#include <simt/types.h>
