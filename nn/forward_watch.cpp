#include "subquad/nn/forward_watch.h"

#include <utility>

namespace subquad::nn {

namespace {

thread_local ForwardWatch* newest = nullptr;

// Nobody is told while one lives.
class Silence {
 public:
  Silence() : before_(std::exchange(newest, nullptr)) {}
  ~Silence() { newest = before_; }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  ForwardWatch* before_;
};

}  // namespace

ForwardWatch::ForwardWatch(Told told) : told_(std::move(told)), before_(std::exchange(newest, this)) {}

ForwardWatch::~ForwardWatch() {
  newest = before_;
}

void ForwardWatch::tell(const Attention& attention, const AttentionInput& in) {
  if (newest == nullptr || !newest->told_.attention) return;
  const Told& told = newest->told_;
  const Silence silence;
  told.attention(attention, in);
}

void ForwardWatch::tell(const Variable& rows) {
  if (newest == nullptr || !newest->told_.rows) return;
  const Told& told = newest->told_;
  const Silence silence;
  told.rows(rows);
}

}  // namespace subquad::nn
