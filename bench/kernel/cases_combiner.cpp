// Combiner's parts: summaries of blocks of tokens, and attention to tokens and summaries.
#include <bit>
#include <cmath>

#include "subquad/autograd/ops/block_attention.h"
#include "subquad/autograd/ops/level_attention.h"
#include "subquad/autograd/ops/running_max.h"
#include "subquad/autograd/ops/span_attention.h"
#include "subquad/autograd/ops/span_pool.h"
#include "subquad/autograd/ops/summary_attention.h"
#include "subquad/bench/kernel/case.h"
#include "subquad/kernels/span_attention/span_attention.h"
#include "subquad/kernels/span_pool/span_pool.h"
#include "subquad/kernels/spans/spans.h"
#include "subquad/nn/choice.h"

namespace subquad::bench {

namespace {

// The chosen one, or a power of two near sqrt(n).
Index segment_of(const Settings& s) {
  const Index segment = s.size("segment");
  return segment > 0 ? segment : Index{1} << (std::bit_width(static_cast<std::uint64_t>(s.size("n"))) / 2);
}

Work span_pool_work(const Settings& s, const nn::Place& place) {
  const nn::Choices<SpanPool, 4> pools = {{{"max", SpanPool::max},
                                           {"mean", SpanPool::mean},
                                           {"sum", SpanPool::sum},
                                           {"log_sum_exp", SpanPool::log_sum_exp}}};
  const SpanPool pool = nn::choose("span_pool: --pool", pools, s.text("pool"));
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("n"), s.size("d")});
  const Tensor spans = kernels::segment_spans(x.dim(1), segment_of(s), place.device());
  const double bytes = bytes_of({x.shape(), {x.dim(0), spans.dim(1), x.dim(2)}}, place.dtype());
  const double flops = kernels::span_pool_work(x.shape(), kernels::segment_spans(x.dim(1), segment_of(s), kCpu)).count;
  return {.inputs = {{"x", x}, {"spans", Variable(spans)}},
          .forward = [=]() -> std::vector<Variable> { return {span_pool(x, spans, pool)}; },
          .forward_count = {flops, bytes},
          .backward_count = {flops, bytes}};
}

Work running_max_work(const Settings& s, const nn::Place& place) {
  const Variable x = normal_input(place, "x", {s.size("batch"), s.size("n"), s.size("d")});
  const nn::Choices<GridAxis, 2> axes = {{{"row", GridAxis::row}, {"column", GridAxis::column}}};
  const RunningMaxOptions options = {.columns = segment_of(s),
                                     .along = nn::choose("running_max: --along", axes, s.text("along"))};
  const double bytes = bytes_of({x.shape()}, place.dtype());
  const auto elements = static_cast<double>(x.value().size());
  return {.inputs = {{"x", x}},
          .forward = [=]() -> std::vector<Variable> { return {running_max(x, options)}; },
          .forward_count = {elements, 2 * bytes},
          .backward_count = {elements, 4 * bytes}};
}

Work span_attention_work(const Settings& s, const nn::Place& place) {
  const Variable k = head_input(place, "k", s), v = head_input(place, "v", s);
  const Tensor spans = kernels::segment_spans(k.dim(2), segment_of(s), place.device());
  const Variable q = normal_input(place, "q", {k.dim(0), k.dim(1), spans.dim(1), k.dim(3)});
  const Tensor counted = kernels::segment_spans(k.dim(2), segment_of(s), kCpu);
  const double bytes = bytes_of({k.shape(), q.shape()}, place.dtype());
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}, {"spans", Variable(spans)}},
          .forward = [=]() -> std::vector<Variable> { return {span_attention(q, k, v, spans)}; },
          .forward_count = {kernels::span_attention_work(q.shape(), v.shape(), counted).count, 2 * bytes},
          .backward_count = {kernels::span_attention_grad_work(q.shape(), v.shape(), counted).count, 4 * bytes}};
}

// Maxima of q and k, local expectations of v, and attention to tokens and summaries: what `fixed` is made of.
Work summary_attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const Index segment = segment_of(s);
  const SpanSummaries summaries = {.spans = kernels::segment_spans(q.dim(2), segment, place.device())};
  const BlockPattern pattern = {.kind = BlockKind::fixed, .size = segment};
  const auto elements = static_cast<double>(q.value().size());
  const double entries = kernels::seen_entries(pattern, q.dim(2)) + 1;  // and once in its own segment's summary
  const double bytes = bytes_of({q.shape()}, place.dtype());
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}},
          .forward = [=]() -> std::vector<Variable> { return {summary_attention(q, k, v, summaries, pattern).out}; },
          .forward_count = {4 * entries * elements, 4 * bytes},
          .backward_count = {10 * entries * elements, 8 * bytes}};
}

// logsparse in one kernel: attention of a query, and of the queries of log2(n) - 1 levels of blocks.
Work level_attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const bool causal = s.flag("causal");
  const double levels = std::max(0, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(q.dim(2)) - 1)) - 1);
  const double entries = kernels::seen_entries({.kind = BlockKind::logsparse, .causal = causal}, q.dim(2));
  const double flops = 4 * (entries + (causal ? levels / 2 : levels)) * static_cast<double>(q.value().size());
  const double bytes = bytes_of({q.shape()}, place.dtype());
  return {.inputs = {{"q", q}, {"k", k}, {"v", v}},
          .forward = [=]() -> std::vector<Variable> { return {level_attention(q, k, v, causal).out}; },
          .forward_count = {flops, 4 * bytes},
          .backward_count = {2.5 * flops, 8 * bytes}};
}

const nn::Choices<BlockKind, 7> kPatterns = {{{"fixed", BlockKind::fixed},
                                              {"logsparse", BlockKind::logsparse},
                                              {"vertical", BlockKind::vertical},
                                              {"horizontal", BlockKind::horizontal},
                                              {"mixture", BlockKind::mixture},
                                              {"rowmajor", BlockKind::rowmajor},
                                              {"window", BlockKind::window}}};

// Tables of summaries are inputs, too.
Work block_attention_work(const Settings& s, const nn::Place& place) {
  const Variable q = head_input(place, "q", s), k = head_input(place, "k", s), v = head_input(place, "v", s);
  const BlockPattern pattern = {.kind = nn::choose("block_attention: --pattern", kPatterns, s.text("pattern")),
                                .size = s.text("pattern") == "logsparse" ? 0 : segment_of(s),
                                .causal = s.flag("causal")};
  std::map<std::string, Variable> inputs = {{"q", q}, {"k", k}, {"v", v}};
  std::vector<BlockSummaries> tables;
  double bytes = bytes_of({q.shape()}, place.dtype());
  for (const Index rows : kernels::summary_rows(pattern, q.dim(2))) {
    const Shape shape = {q.dim(0), q.dim(1), rows, q.dim(3)};
    const std::string name = cat("summary.", tables.size());
    tables.push_back({normal_input(place, name + ".k", shape), normal_input(place, name + ".v", shape)});
    inputs[name + ".k"] = tables.back().k;
    inputs[name + ".v"] = tables.back().v;
    bytes += bytes_of({shape}, place.dtype()) / 2;
  }
  const double flops = 4 * kernels::seen_entries(pattern, q.dim(2)) * static_cast<double>(q.value().size());
  return {.inputs = std::move(inputs),
          .forward = [=]() -> std::vector<Variable> { return {block_attention(q, k, v, tables, pattern).out}; },
          .forward_count = {flops, 4 * bytes},
          .backward_count = {2.5 * flops, 8 * bytes}};
}

}  // namespace

std::vector<Case> combiner_cases() {
  const Setting n = {"n", "4096", "positions"}, d = {"d", "64", "channels"}, batch = {"batch", "4", "samples"};
  const Setting heads = {"heads", "2", "heads of d / heads features"};
  const Setting segment = {"segment", "0", "positions of a segment, columns of a grid; 0 = about sqrt(n)"};
  return {{"span_pool",
           "each segment of x [batch, n, d] becomes one row",
           {n, d, batch, segment, {"pool", "max", "max, mean, sum or log_sum_exp"}},
           span_pool_work},
          {"running_max",
           "maxima of what precedes each cell of a grid",
           {n, d, batch, segment, {"along", "row", "row or column"}},
           running_max_work},
          {"span_attention",
           "one query per segment, to the segment's tokens",
           {n, d, batch, heads, segment},
           span_attention_work},
          {"summary_attention",
           "maxima of segments, and attention to tokens and to them",
           {n, d, batch, heads, segment},
           summary_attention_work},
          {"level_attention",
           "tokens and summaries of blocks of 2, 4, 8, ... tokens: logsparse in one kernel",
           {n, d, batch, heads, {"causal", "false", "nothing behind the query"}},
           level_attention_work,
           /*turns_on_rounding=*/false,
           /*has_backward=*/true,
           /*on_cuda=*/false},
          {"block_attention",
           "tokens and summaries of blocks under one softmax",
           {n,
            d,
            batch,
            heads,
            segment,
            {"pattern", "fixed", "fixed, logsparse, vertical, horizontal, mixture, rowmajor or window"},
            {"causal", "false", "nothing behind the query"}},
           block_attention_work}};
}

}  // namespace subquad::bench
