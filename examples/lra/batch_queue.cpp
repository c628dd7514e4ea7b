#include "subquad/examples/lra/batch_queue.h"

#include <chrono>

namespace subquad::lra {

BatchQueue::BatchQueue(Source source, Index capacity)
    : source_(std::move(source)), capacity_(static_cast<std::size_t>(capacity)) {
  if (capacity < 1) throw Error(cat("BatchQueue: capacity is ", capacity, ", expected at least 1"));
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

BatchQueue::~BatchQueue() = default;

std::optional<MicroBatches> BatchQueue::next() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return !items_.empty(); });
  waited_seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
  if (items_.front().error) std::rethrow_exception(items_.front().error);
  if (!items_.front().batches) return std::nullopt;
  std::optional<MicroBatches> batches = std::move(items_.front().batches);
  items_.pop_front();
  lock.unlock();
  room_.notify_one();
  return batches;
}

BatchQueue::Item BatchQueue::make() const {
  try {
    return {source_(), nullptr};
  } catch (...) {
    return {std::nullopt, std::current_exception()};
  }
}

void BatchQueue::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Item item = make();
    const bool last = !item.batches;
    std::unique_lock lock(mutex_);
    if (!room_.wait(lock, stop, [this] { return items_.size() < capacity_; })) return;
    items_.push_back(std::move(item));
    lock.unlock();
    ready_.notify_one();
    if (last) return;
  }
}

}  // namespace subquad::lra
