#include "subquad/examples/inspect/costs.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "subquad/core/profile.h"

namespace subquad::inspect {

namespace {

PartCost part_of(const char* name, const std::vector<OpRecord>& records) {
  PartCost part{name, {}};
  for (const OpRecord& record : records) {
    if (record.thread != 0) continue;
    auto op = std::ranges::find(part.ops, std::string(record.name), &OpCost::name);
    if (op == part.ops.end()) op = part.ops.insert(op, {.name = record.name});
    op->calls += 1;
    op->flops += record.flops;
    op->bytes += record.bytes;
    op->seconds += record.own_seconds;
  }
  return part;
}

PartCost measured(const char* name, Device device, int runs, const std::function<void()>& step) {
  step();  // warms up
  std::optional<PartCost> best;
  for (int i = 0; i < runs; ++i) {
    const Profile profile(device);
    step();
    PartCost found = part_of(name, profile.records());
    if (!best || found.sum().seconds < best->sum().seconds) best = std::move(found);
  }
  return *best;
}

}  // namespace

OpCost PartCost::sum() const {
  OpCost sum{.name = name};
  for (const OpCost& op : ops) {
    sum.calls += op.calls;
    sum.flops += op.flops;
    sum.bytes += op.bytes;
    sum.seconds += op.seconds;
  }
  return sum;
}

std::vector<PartCost> costs(const LayerSight& layer, int runs) {
  const NoGrad no_grad;
  const nn::Attention& attention = *layer.attention;
  const nn::AttentionInput& in = layer.in;
  const Device device = attention.device();
  const nn::Heads heads = attention.project(in);
  const Variable mixed = attention.mix(in, heads, heads.v, /*draws=*/false);
  return {measured("project", device, runs, [&] { attention.project(in); }),
          measured("mix", device, runs, [&] { attention.mix(in, heads, heads.v, /*draws=*/false); }),
          measured("output", device, runs, [&] { attention.output(in, mixed); })};
}

}  // namespace subquad::inspect
