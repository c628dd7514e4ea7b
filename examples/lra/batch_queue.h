// Batches made ahead on a thread of their own, so that a training step need not wait for its data.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "subquad/examples/lra/batches.h"

namespace subquad::lra {

class BatchQueue {
 public:
  static constexpr Index kUsualCapacity = 4;

  // The next step's micro-batches; nothing after the last one. Only the queue's thread calls it.
  using Source = std::function<std::optional<MicroBatches>()>;

  // At most `capacity` finished steps' batches wait, at least 1, and one more that is ready to be put behind them.
  explicit BatchQueue(Source source, Index capacity = kUsualCapacity);
  ~BatchQueue();  // after the batch that is being made
  BatchQueue(const BatchQueue&) = delete;
  BatchQueue& operator=(const BatchQueue&) = delete;

  // The source's batches in its order, then nothing. What the source throws is thrown here in the place of the batch
  // that it was to make, and again by every later call.
  std::optional<MicroBatches> next();

  double waited_seconds() const { return waited_seconds_; }  // by next(), of which only one thread may make use

 private:
  struct Item {  // neither batches nor error: the end
    std::optional<MicroBatches> batches;
    std::exception_ptr error;
  };

  Item make() const;
  void run(const std::stop_token& stop);

  const Source source_;
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::condition_variable_any room_;
  std::deque<Item> items_;  // behind the mutex
  double waited_seconds_ = 0;
  std::jthread thread_;  // the last member: it uses all others
};

}  // namespace subquad::lra
