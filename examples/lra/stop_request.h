// Ctrl-C and SIGTERM as a request that the training loop looks at between steps, so that it can save before it ends. A
// second signal of the same kind ends the process at once.
#pragma once

#include <csignal>

namespace subquad::lra {

class StopRequest {
 public:
  StopRequest();   // installs the handlers; one object at a time
  ~StopRequest();  // puts the earlier ones back
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  int signal() const;  // SIGINT or SIGTERM once one has come, else 0
  explicit operator bool() const { return signal() != 0; }

 private:
  struct sigaction interrupt_before_ = {};
  struct sigaction terminate_before_ = {};
};

}  // namespace subquad::lra
