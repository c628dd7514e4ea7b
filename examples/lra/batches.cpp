#include "subquad/examples/lra/batches.h"

#include <algorithm>
#include <numeric>

#include "subquad/core/rng.h"

namespace subquad::lra {

namespace {

template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {  // Fisher-Yates
  for (std::size_t left = items.size(); left > 1; --left)
    std::swap(items[left - 1], items[static_cast<std::size_t>(rng.below(static_cast<Index>(left)))]);
}

SampleNumbers all_samples(const Sequences& set) {
  SampleNumbers numbers(static_cast<std::size_t>(set.size()));
  std::iota(numbers.begin(), numbers.end(), Index{0});
  return numbers;
}

void sort_by_length(const Sequences& set, SampleNumbers::iterator begin, SampleNumbers::iterator end) {
  std::stable_sort(begin, end, [&](Index a, Index b) { return set.length(a) < set.length(b); });
}

std::vector<SampleNumbers> cut(const SampleNumbers& order, Index size) {
  std::vector<SampleNumbers> batches;
  const auto step = static_cast<std::size_t>(size);
  for (std::size_t begin = 0; begin < order.size(); begin += step) {
    const std::size_t end = std::min(order.size(), begin + step);
    batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin),
                         order.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return batches;
}

Index padded_length(const Sequences& set, const SampleNumbers& samples, const BatchOptions& options) {
  const Index limit = options.pad_to > 0 ? options.pad_to : options.max_length;
  Index longest = 1;  // an empty batch, or one of empty sequences, still has a position
  for (const Index sample : samples) {
    const Index length = set.length(sample);
    if (length > limit)
      throw Error(cat("batch: sample ", sample, " has ", length, " tokens, more than ",
                      options.pad_to > 0 ? "pad-to " : "max-length ", limit));
    longest = std::max(longest, length);
  }
  if (options.pad_to > 0) return options.pad_to;
  return std::min(limit, (longest + options.pad_multiple - 1) / options.pad_multiple * options.pad_multiple);
}

// Not a prefix mask even where a batch has no 0 in its samples: a step that was recorded for a batch shape is replayed
// with any other batch of that shape.
Mask mask_of_ids(const Tensor& ids) {
  Tensor real = empty(ids.shape(), kBool, kCpu);
  std::ranges::transform(ids.span<std::int64_t>(), real.data<bool>(), [](std::int64_t id) { return id != 0; });
  Mask mask = Mask::from_bool(real);
  mask.prefix = false;
  return mask;
}

}  // namespace

std::vector<SampleNumbers> shuffled_batches(const Sequences& set, const BatchOptions& options, std::uint64_t seed,
                                            Index epoch) {
  Rng rng(seed, stream_id(cat("data order, epoch ", epoch)));
  SampleNumbers order = all_samples(set);
  shuffle(order, rng);
  if (options.bucket <= 1) return cut(order, options.size);

  const Index bucket = options.bucket * options.size;
  for (Index begin = 0; begin < set.size(); begin += bucket) {
    const Index end = std::min(set.size(), begin + bucket);
    sort_by_length(set, order.begin() + begin, order.begin() + end);
  }
  std::vector<SampleNumbers> batches = cut(order, options.size);
  shuffle(batches, rng);  // otherwise every bucket would go from short to long
  return batches;
}

std::vector<SampleNumbers> sorted_batches(const Sequences& set, const BatchOptions& options) {
  SampleNumbers order = all_samples(set);
  sort_by_length(set, order.begin(), order.end());
  return cut(order, (options.size + options.accumulate - 1) / options.accumulate);
}

Batch make_batch(const Sequences& set, const SampleNumbers& samples, const BatchOptions& options) {
  const auto count = static_cast<Index>(samples.size());
  const Index positions = padded_length(set, samples, options);
  Tensor ids = empty({set.parts() * count, positions}, kInt64, kCpu);
  Tensor labels = empty({count}, kInt64, kCpu);
  Tensor lengths = empty({set.parts() * count}, kInt64, kCpu);
  Batch batch;
  for (Index b = 0; b < count; ++b) {
    const Index sample = samples[static_cast<std::size_t>(b)];
    for (Index part = 0; part < set.parts(); ++part) {
      const Index row = part * count + b;
      const auto tokens = set.tokens(sample, part);
      std::int64_t* const begin = ids.data<std::int64_t>() + row * positions;
      std::fill(std::copy(tokens.begin(), tokens.end(), begin), begin + positions, 0);
      lengths.data<std::int64_t>()[row] = set.length(sample, part);
    }
    labels.data<std::int64_t>()[b] = set.label(sample);
  }
  batch.ids = ids;
  batch.labels = labels;
  batch.samples = tensor<std::int64_t>(samples, {count});
  batch.mask = options.zero_is_pad ? mask_of_ids(ids) : Mask::from_lengths(lengths, positions);
  for (const Index real : batch.mask.lengths.span<Index>()) batch.tokens += real;
  return batch;
}

MicroBatches make_micro_batches(const Sequences& set, SampleNumbers samples, const BatchOptions& options) {
  const auto size = static_cast<Index>(samples.size());
  const Index parts = std::clamp<Index>(options.accumulate, 1, std::max<Index>(size, 1));
  if (parts > 1) sort_by_length(set, samples.begin(), samples.end());
  MicroBatches micro_batches;
  for (Index i = 0; i < parts; ++i) {
    const SampleNumbers part(samples.begin() + i * size / parts, samples.begin() + (i + 1) * size / parts);
    micro_batches.push_back(make_batch(set, part, options));
  }
  return micro_batches;
}

StepBatches::StepBatches(const Sequences& set, const BatchOptions& options, std::uint64_t seed, Index first,
                         Index steps)
    : set_(&set), options_(options), seed_(seed), step_(first), steps_(steps) {}

std::optional<MicroBatches> StepBatches::operator()() {
  if (step_ >= steps_) return std::nullopt;
  const Index batches_per_epoch = (set_->size() + options_.size - 1) / options_.size;
  const Index epoch = step_ / batches_per_epoch;
  if (epoch != epoch_) {
    epoch_batches_ = shuffled_batches(*set_, options_, seed_, epoch);
    epoch_ = epoch;
  }
  const Index number = step_++ % batches_per_epoch;
  return make_micro_batches(*set_, epoch_batches_[static_cast<std::size_t>(number)], options_);
}

EvaluationBatches::EvaluationBatches(const Sequences& set, const BatchOptions& options)
    : set_(&set), options_(options), batches_(sorted_batches(set, options)) {}

std::optional<MicroBatches> EvaluationBatches::operator()() {
  if (next_ == batches_.size()) return std::nullopt;
  return MicroBatches{make_batch(*set_, batches_[next_++], options_)};
}

Batch Batch::to(Device device) const {
  return {ids.to(device), labels.to(device), samples.to(device), mask.to(device), tokens};
}

std::vector<Tensor> tensors_of(const Batch& batch) {
  return {batch.ids, batch.labels, batch.samples, batch.mask.real, batch.mask.lengths};
}

}  // namespace subquad::lra
