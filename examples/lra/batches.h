// Cuts a set of sequences into padded batches. Which samples form which batch is a pure function of (seed, epoch), so
// the place in the data of a resumed run is its step number.
#pragma once

#include <optional>
#include <vector>

#include "subquad/core/mask.h"
#include "subquad/examples/lra/tasks/sequences.h"

namespace subquad::lra {

// Of pairs, the rows of ids and mask are the B first sequences and then the B second ones.
struct Batch {
  Tensor ids;        // int64 [B, N] or [2 B, N]: tokens, 0 where padded
  Tensor labels;     // int64 [B]
  Tensor samples;    // int64 [B]: a sample's number in its set; keys its random numbers
  Mask mask;         // of ids
  Index tokens = 0;  // real ones

  Index size() const { return labels.dim(0); }
  Batch to(Device device) const;
};

struct BatchOptions {
  Index size = 32;
  Index max_length = 2048;   // of a sample, and of N
  Index pad_to = 0;          // N of every batch; 0: the longest sample of the batch, rounded up to pad_multiple
  Index pad_multiple = 64;   // so that few different shapes occur and the allocator's blocks fit again
  bool zero_is_pad = false;  // a token 0 counts as padding wherever it stands; else lengths alone say what is real
  Index bucket = 1;          // this many batches' worth of samples are sorted by length together; 1: no sorting
  Index accumulate = 1;      // micro-batches that a training step's batch is cut into; fewer where it has fewer samples
};

using SampleNumbers = std::vector<Index>;

// The batches of one epoch of training: every sample once, shuffled by Philox; one batch may be smaller.
std::vector<SampleNumbers> shuffled_batches(const Sequences& set, const BatchOptions& options, std::uint64_t seed,
                                            Index epoch);

// Batches for evaluation, as large as a training step's micro-batches: every sample once, neighbours in length
// together, so that padding costs little.
std::vector<SampleNumbers> sorted_batches(const Sequences& set, const BatchOptions& options);

// On the CPU, by the calling thread alone. Error naming the sample when one is longer than pad_to or max_length.
Batch make_batch(const Sequences& set, const SampleNumbers& samples, const BatchOptions& options);

// What a training step computes one after another and adds up: its whole batch, or parts of it that need less memory.
using MicroBatches = std::vector<Batch>;

// The samples cut into `accumulate` micro-batches whose sizes differ by one at most, neighbours in length together,
// each padded for itself. A single one keeps the samples' order.
MicroBatches make_micro_batches(const Sequences& set, SampleNumbers samples, const BatchOptions& options);

// The batches of training steps first, first + 1, ... below `steps`, one a call, then nothing; each epoch is shuffled
// when its first batch is due. `set` must not be empty, and must live as long.
class StepBatches {
 public:
  StepBatches(const Sequences& set, const BatchOptions& options, std::uint64_t seed, Index first, Index steps);
  std::optional<MicroBatches> operator()();

 private:
  const Sequences* set_;
  BatchOptions options_;
  std::uint64_t seed_;
  Index step_;
  Index steps_;
  Index epoch_ = -1;  // that epoch_batches_ belong to
  std::vector<SampleNumbers> epoch_batches_;
};

// The batches of sorted_batches(), one a call, then nothing. `set` must live as long.
class EvaluationBatches {
 public:
  EvaluationBatches(const Sequences& set, const BatchOptions& options);
  std::optional<MicroBatches> operator()();

 private:
  const Sequences* set_;
  BatchOptions options_;
  std::vector<SampleNumbers> batches_;
  std::size_t next_ = 0;
};

std::vector<Tensor> tensors_of(const Batch& batch);  // all of its tensors, always in the same order

}  // namespace subquad::lra
