#include <simt/warp.h>

#include <sstream>

namespace simt {

void fail_shuffle(const char* name, int lane, int from, unsigned mask) {
  std::ostringstream what;
  what << name << ": lane " << lane << " reads from lane " << from << ", which is not among 0x" << std::hex << mask;
  fail(what.str());
}

void fail_width(const char* name, int width) {
  fail(std::string(name) + ": width " + std::to_string(width) + ", expected a power of 2 up to 32");
}

}  // namespace simt
