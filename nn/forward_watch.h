// Sees what passes through a model: while a ForwardWatch lives, it is told of the embedded rows and of the input of
// every attention whose forward runs on its thread, in the order they run.
//
//   std::vector<AttentionInput> inputs;
//   Variable rows;
//   const ForwardWatch watch({.attention = [&](const Attention&, const AttentionInput& in) { inputs.push_back(in); },
//                             .rows = [&](const Variable& x) { rows = x; }});
//   const Variable logits = model(tokens, mask, {});
//   grad({slice(logits, 1, 3, 4)}, {rows});           // d logit 3 / d row, for each token
//
// What is told is what the model goes on to use, so a gradient with respect to it is that of the model. Without a watch
// a forward pays for one look at a thread's pointer. Layers that are recomputed in backward (checkpoint_layers) are
// told once more there, if the watch still lives.
#pragma once

#include <functional>

#include "subquad/nn/attention/attention.h"

namespace subquad::nn {

class ForwardWatch {
 public:
  struct Told {
    // Before an attention runs: it, for mixing_matrix, project, path ..., and what it was given.
    std::function<void(const Attention&, const AttentionInput&)> attention = {};
    // [B, N, D]: the tokens' rows of an Encoder or a Mixer, before positions are added; with a model's cls its row is
    // the first. A TwoTowerClassifier tells of each tower.
    std::function<void(const Variable& rows)> rows = {};
  };

  // The newest watch of a thread alone is told, and not while it is being told: what it calls may run forwards.
  // Watches of a thread end in the reverse order of their making.
  explicit ForwardWatch(Told told);
  ~ForwardWatch();
  ForwardWatch(const ForwardWatch&) = delete;
  ForwardWatch& operator=(const ForwardWatch&) = delete;

  // For models and attentions.
  static void tell(const Attention& attention, const AttentionInput& in);
  static void tell(const Variable& rows);

 private:
  Told told_;
  ForwardWatch* before_;
};

}  // namespace subquad::nn
