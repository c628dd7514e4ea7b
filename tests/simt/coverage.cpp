#include "subquad/tests/simt/coverage.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace simt {
namespace {

struct Kernel {
  std::uint64_t launches = 0, most_blocks = 0;
  std::set<std::uint64_t> schedules;
};

class Log {
 public:
  ~Log() {
    const char* const path = std::getenv("SUBQUAD_SIMT_COVERAGE");
    if (path == nullptr) return;
    std::ostringstream lines;
    for (const auto& [function, kernel] : kernels)
      lines << symbol(function) << ' ' << kernel.launches << ' ' << kernel.most_blocks << ' ' << kernel.schedules.size()
            << '\n';
    std::ofstream(path, std::ios::app) << lines.str() << std::flush;
  }

  std::map<const void*, Kernel> kernels;
};

}  // namespace

void note_launch(const Launch& launch, std::uint64_t seed) {
  static Log log;
  Kernel& kernel = log.kernels[launch.kernel];
  ++kernel.launches;
  kernel.most_blocks = std::max(kernel.most_blocks, std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z);
  constexpr std::size_t kEnough = 100;  // schedules to remember
  if (kernel.schedules.size() < kEnough) kernel.schedules.insert(seed);
}

}  // namespace simt
