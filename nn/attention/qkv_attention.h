// What the mechanisms with queries and keys share: the projections before and after, Vaswani et al. 2017,
// section 3.2.2.
//
//   q, k, v = x Wq + bq, ...      head h owns columns h E ... h E + E - 1; q and k from in.data, v from in.values
//   out = dropout(concat_h(A V) Wo + bo)
#pragma once

#include "subquad/nn/attention/attention.h"
#include "subquad/nn/dropout.h"
#include "subquad/nn/linear.h"

namespace subquad::nn {

class QkvAttention : public Attention {
 public:
  QkvAttention(const Place& place, const AttentionConfig& config);

  Heads project(const AttentionInput& in) const final;

 protected:
  Variable output(const AttentionInput& in, const Variable& mixed) const final;

 private:
  Variable split(const Variable& x) const;  // [B, N, H E] -> [B, H, N, E], a view

  Linear query_;
  Linear key_;
  Linear value_;
  Linear out_;
  Dropout dropout_;
};

}  // namespace subquad::nn
