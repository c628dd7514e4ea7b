#include "subquad/nn/attention/combiner.h"
#include "subquad/nn/attention/fsat.h"
#include "subquad/nn/attention/local.h"
#include "subquad/nn/attention/nystrom.h"
#include "subquad/nn/attention/paramixer.h"
#include "subquad/nn/attention/softmax.h"
#include "subquad/nn/choice.h"

namespace subquad::nn {

namespace {

using Maker = std::unique_ptr<Attention> (*)(const Place&, const AttentionConfig&);

template <class T>
std::unique_ptr<Attention> make(const Place& place, const AttentionConfig& config) {
  return std::make_unique<T>(place, config);
}

constexpr auto kKinds = std::to_array<Choices<Maker, 1>::value_type>({
    {"softmax", make<SoftmaxAttention>},
    {"nystrom", make<NystromAttention>},
    {"fsat", make<FsatAttention>},
    {"paramixer", make<Paramixer>},
    {"combiner", make<CombinerAttention>},
    {"local", make<LocalAttention>},
});

}  // namespace

std::unique_ptr<Attention> make_attention(const Place& place, const AttentionConfig& config) {
  return choose("make_attention: kind", kKinds, config.kind)(place, config);
}

std::vector<std::string> attention_kinds() {
  std::vector<std::string> kinds;
  for (const auto& [name, maker] : kKinds) kinds.emplace_back(name);
  return kinds;
}

}  // namespace subquad::nn
