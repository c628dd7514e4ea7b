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

struct Kind {
  Maker make;
  bool on_cuda = false;  // are all of its kernels there?
};

constexpr Choices<Kind, 6> kKinds = {{
    {"softmax", {make<SoftmaxAttention>, true}},
    {"nystrom", {make<NystromAttention>}},
    {"fsat", {make<FsatAttention>, true}},
    {"paramixer", {make<Paramixer>}},
    {"combiner", {make<CombinerAttention>, true}},
    {"local", {make<LocalAttention>, true}},
}};

}  // namespace

std::unique_ptr<Attention> make_attention(const Place& place, const AttentionConfig& config) {
  return choose("make_attention: kind", kKinds, config.kind).make(place, config);
}

std::vector<std::string> attention_kinds(DeviceType device) {
  std::vector<std::string> kinds;
  for (const auto& [name, kind] : kKinds)
    if (device == DeviceType::cpu || kind.on_cuda) kinds.emplace_back(name);
  return kinds;
}

}  // namespace subquad::nn
