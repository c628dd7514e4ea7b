// What bench_kernel can time: a table of ops, one small file per family (cases_*.cpp). A case says what may be chosen,
// makes random inputs for a choice, and counts the work that the mechanism itself asks for.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "subquad/autograd/variable.h"
#include "subquad/bench/kernel/settings.h"
#include "subquad/nn/module.h"

namespace subquad::bench {

// Work of one pass by the op's contract, not by what an implementation happens to do. Backward may count on whatever
// forward came across, so a product takes two more there, one for each factor's gradient. But attention's logits, which
// are never stored, are made again: five products backward for two forward.
struct Count {
  double flops = 0;  // of products and sums, multiply and add = 2
  double bytes = 0;  // each input, result, value kept for backward and gradient, read or written once
  double held = 0;   // bytes that these stand in, where some are read and then written in place; 0: as many as `bytes`
  double again = 0;  // of rows that are read once for every entry that names them: no less than that from a cache
};

// One op of a chain of them.
struct Part {
  std::string name;
  Count forward, backward;
};

// An op on one set of inputs.
struct Work {
  std::map<std::string, Variable> inputs;          // parameters, too; gradients are taken of those that require one
  std::function<std::vector<Variable>()> forward;  // the results
  Count forward_count, backward_count;             // backward: 0 where the op has none
  std::vector<Part> parts = {};  // where it is many ops: they add up to the counts, and their floors to its floor
  std::function<std::map<std::string, Tensor>()> also = {};  // what the last forward left beside its results
};

struct Case {
  std::string op;
  std::string about;  // one line for the list
  std::vector<Setting> settings;
  std::function<Work(const Settings&, const nn::Place&)> make;  // place: seed, dtype and device
  bool turns_on_rounding = false;  // a choice that float32 and float64 may make differently
  bool has_backward = true;
  bool on_cuda = true;  // false: a kernel of the CPU alone
};

std::vector<Case> product_cases();    // matrix products
std::vector<Case> row_cases();        // softmax, layer norm, bias + GELU, loss, optimiser
std::vector<Case> attention_cases();  // kernels/attention and its kin
std::vector<Case> fsat_cases();       // what chooses FSAT's keys
std::vector<Case> fft_cases();        // Fourier transforms
std::vector<Case> combiner_cases();   // summaries of blocks
std::vector<Case> paramixer_cases();  // sparse factors
std::vector<Case> nystrom_cases();    // landmarks and the pseudo-inverse
std::vector<Case> move_cases();       // embedding, compaction, noise
std::vector<Case> module_cases();     // the attentions of nn/attention
std::vector<Case> layer_cases();      // an encoder layer with each of them
std::vector<Case> step_cases();       // a step of training a classifier with each of them
std::vector<Case> all_cases();

// Error that lists every name when no case has this one.
Case find_case(const std::string& op);

// A leaf that requires a gradient, drawn from the standard normal; `name` decides the draw. Values are those of float32
// in every dtype.
Variable normal_input(const nn::Place& place, const std::string& name, const Shape& shape);

// A leaf [B, H, N, E], laid out as a projection leaves it, from the settings batch, heads, n and d.
Variable head_input(const nn::Place& place, const std::string& name, const Settings& settings);

// Elements of the shapes, times `bytes_each`.
double bytes_of(std::initializer_list<Shape> shapes, DType dtype);

}  // namespace subquad::bench
