// Recall, a task that takes attention: positions 0 ... 23 each tell the value of one key, the last one asks for a key,
// and the answer is the value that it was told with.
//
//   token 8 key + value     "key has this value", key 0 ... 23, value 0 ... 7
//   token 192 + key         "what is the value of key?"
//
// A guess is right once in 8. The model: embedding, one attention, a linear map of the last position; no position
// table, no feed-forward, so that nothing but the attention can carry a value to the position that asks.
#pragma once

#include <functional>
#include <memory>

#include "subquad/nn/attention/attention.h"
#include "subquad/nn/embedding.h"
#include "subquad/nn/linear.h"

namespace subquad::playground {

struct RecallBatch {
  Tensor tokens;   // int64 [B, 25]
  Tensor answers;  // int64 [B]
  Tensor asked;    // int64 [B]: where the answer stands
};
RecallBatch recall_batch(Index count, std::uint64_t number);  // a pure function of both: new samples for every number

using AttentionMaker = std::function<std::unique_ptr<nn::Attention>(const nn::Place&, const nn::AttentionConfig&)>;

class RecallModel : public nn::Module {
 public:
  explicit RecallModel(const AttentionMaker& make);  // its config: width 64, one head, max_length 25

  Variable operator()(const Tensor& tokens) const;  // [B, 25] -> logits [B, 8]

  // What the position that asks makes of the one that knows, A[24, asked], averaged over heads and samples.
  double weight_on_answer(const RecallBatch& batch) const;

  // A line for people: step, loss, how many of the logits are largest at the answer, the weight above. Three digits,
  // since after 800 steps the last of six are another processor's own.
  void print_progress(int step, const Variable& loss, const Variable& logits, const RecallBatch& batch) const;

 private:
  nn::Embedding tokens_;
  std::unique_ptr<nn::Attention> attention_;
  nn::Linear answer_;
};

}  // namespace subquad::playground
