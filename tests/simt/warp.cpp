#include <simt/warp.h>

#include <bit>
#include <sstream>

namespace simt {

void fail_shuffle(const char* name, int lane, int from, unsigned mask) {
  std::ostringstream what;
  what << name << ": lane " << lane << " reads from lane " << from << ", which is not among 0x" << std::hex << mask;
  fail(what.str());
}

void check_width(const char* name, int width) {
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width)))
    fail(std::string(name) + ": width " + std::to_string(width) + ", expected a power of 2 up to 32");
}

}  // namespace simt
