#include "subquad/examples/lra/stop_request.h"

namespace subquad::lra {

namespace {

volatile std::sig_atomic_t received = 0;  // all that a handler may write

void remember(int signal) {
  received = signal;
}

}  // namespace

StopRequest::StopRequest() {
  received = 0;
  struct sigaction action = {};
  action.sa_handler = remember;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);  // the second one meets the default action
  sigaction(SIGINT, &action, &interrupt_before_);
  sigaction(SIGTERM, &action, &terminate_before_);
}

StopRequest::~StopRequest() {
  sigaction(SIGINT, &interrupt_before_, nullptr);
  sigaction(SIGTERM, &terminate_before_, nullptr);
}

int StopRequest::signal() const {
  return received;
}

}  // namespace subquad::lra
