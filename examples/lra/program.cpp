#include "subquad/examples/lra/program.h"

#include <algorithm>
#include <csignal>
#include <iostream>

#include "subquad/core/parallel.h"
#include "subquad/core/runtime.h"
#include "subquad/examples/lra/options.h"

namespace subquad::lra {

int run_program(const char* name, int argc, char** argv, int (*body)(const std::vector<std::string>& args)) {
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const int status = body(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
    if (!std::cout.flush()) throw Error("cannot write the report to the standard output");
    return status;
  } catch (const OptionError& error) {
    std::cerr << name << ": " << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << std::endl;
    return 1;
  }
}

void set_up_processor(int threads) {
  if (threads > 0) set_num_threads(threads);
  flush_denormals();
}

}  // namespace subquad::lra
