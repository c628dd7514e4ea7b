#include "subquad/examples/inspect/page_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "subquad/core/safetensors.h"
#include "subquad/examples/inspect/costs.h"
#include "subquad/examples/inspect/curves.h"
#include "subquad/examples/inspect/decisions.h"
#include "subquad/examples/inspect/page.h"
#include "subquad/examples/inspect/room.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::inspect {

namespace {

constexpr std::size_t kClassesShown = 5;

std::string full_name(const std::string& kind) {
  if (kind == "softmax") return "softmax attention";
  if (kind == "nystrom") return "a Nyströmformer";
  if (kind == "fsat") return "FSAT (our reconstruction)";
  if (kind == "paramixer") return "a Paramixer";
  if (kind == "combiner") return "a Combiner";
  return cat(kind, " attention");
}

Json answer_record(const Subject& subject, const Sight& sight) {
  std::vector<std::size_t> order(sight.probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return sight.probabilities[a] > sight.probabilities[b]; });
  Json classes = Json::array(), notes = Json::array();
  for (std::size_t i = 0; i < std::min(order.size(), kClassesShown); ++i)
    classes.push_back({{"name", subject.start.class_names[order[i]]}, {"probability", sight.probabilities[order[i]]}});
  if (order.size() > kClassesShown)
    notes.push_back(cat("The likeliest ", kClassesShown, " of ", order.size(), " classes."));
  for (const lra::EncodedInput& part : subject.question.parts) {
    if (part.value)
      notes.push_back(
          cat("Its value is ", *part.value,
              *part.value == subject.start.class_names[order[0]] ? ": the model is right." : ": the model is wrong."));
    for (const std::string& note : part.notes) notes.push_back(note);
  }
  return {{"asked", subject.asked}, {"classes", classes}, {"notes", notes}};
}

std::string positions_text(const PositionNames& names, Index own) {
  const Index positions = std::ssize(names.tokens);
  std::string said = cat(positions, ", ");
  if (names.padding == 0 && own == 0 && names.hidden == 0) return said + "each a token of the input";
  said += cat(positions - own - names.padding, " of them tokens of the input");
  if (own > 0) said += ", the first a token of the model's own (cls)";
  if (names.padding > 0) said += cat(", ", names.padding, " padding (pad)");
  if (names.hidden > 0) said += cat("; the mask hides ", names.hidden);
  return said;
}

Json facts(const Subject& subject, const Sight& sight, const PositionNames& names) {
  const lra::TrainOptions& o = subject.options;
  const nn::Attention& attention = *sight.layers[0].attention;
  Json list = Json::array();
  list.push_back({"Model", subject.origin});
  list.push_back({"Task", o.data.task});
  list.push_back({"Attention", mechanism_text(subject.attention())});
  list.push_back(
      {"Size", cat(lra::model_name(o.model.kind), ", ", count_of(std::ssize(sight.layers), "layer"), ", width ",
                   attention.width(), ", ", count_of(attention.heads(), "head"), " of ", attention.head_width(), ", ",
                   lra::grouped(subject.learner->parameter_count()), " parameters")});
  list.push_back({"Positions", positions_text(names, subject.own_tokens())});
  return list;
}

Json gradient_section(const Subject& subject, const Sight& sight) {
  const std::string name = subject.start.class_names[static_cast<std::size_t>(sight.predicted)];
  return section("Which tokens the answer hangs on",
                 cat("Length of the gradient of the predicted class's logit (", name,
                     ") with respect to each embedded token: how much a small change of it would move the answer."),
                 {tokens(sight.gradient, "gradient"), charts({{.title = "The same by position",
                                                               .x = "position",
                                                               .y = "length",
                                                               .lines = {line("gradient", sight.gradient)}}})});
}

std::vector<std::string> cost_row(const std::string& name, const OpCost& cost) {
  return {name, cost.flops > 0 ? with_unit(cost.flops) + "flop" : "–", with_unit(cost.bytes) + "B",
          time_text(cost.seconds)};
}

std::string part_name(const std::string& step) {
  if (step == "project") return "projections before";
  return step == "mix" ? "the mechanism" : "projection after";
}

// `positions`: that are mixed, padding among them where the model mixes it.
std::string compared_cost(const nn::Attention& attention, const std::string& kind, Index positions, double flops) {
  const double n = static_cast<double>(positions);
  const double exact = 4 * n * n * static_cast<double>(attention.heads() * attention.head_width());
  const std::string told = cat("4 N² D = ", with_unit(exact), "flop, N = ", positions);
  if (kind == "softmax") return cat("Projections left out, that is ", told, ".");
  std::string said = cat("Projections left out, softmax attention would take ", told, "; the mechanism takes ",
                         with_unit(flops), "flop");
  if (kind == "paramixer") said += ", what makes its link weights (factor_mlp) among them";
  if (flops > 0) said += cat(": softmax takes ", digits(exact / flops), " times as many");
  return said + ".";
}

Json cost_section(const LayerSight& layer, const std::string& kind, Index positions) {
  std::vector<std::vector<std::string>> rows;
  double flops = 0;
  for (const PartCost& part : costs(layer)) {
    if (part.ops.empty()) continue;
    const OpCost sum = part.sum();
    rows.push_back(cost_row(part_name(part.name), sum));
    for (const OpCost& op : part.ops)
      rows.push_back(cost_row(cat("    ", op.name, op.calls > 1 ? cat(", ", op.calls, " times") : std::string()), op));
    if (part.name == "mix") flops = sum.flops;
  }
  return section(
      "What it costs",
      "One forward of the first layer's attention on this input, without gradients. Operations are the multiplications "
      "and additions of products and Fourier transforms, where most of the work is; ops that only average, compare or "
      "normalise have a dash. "
      "Bytes are counted; times are the shortest of five, where this page was made.",
      {table({"part", "operations", "memory touched", "time"}, rows),
       text(compared_cost(*layer.attention, kind, positions, flops))});
}

void add_image(const PositionNames& names, Json& data) {
  if (!names.image) return;
  data["image"] = {{"rows", names.image->rows},
                   {"columns", names.image->columns},
                   {"first", names.image->first},
                   {"grey", names.image->grey}};
}

}  // namespace

PageData page_data(Subject& subject) {
  const Sight sight = look(subject.learner->model(), subject.batch, subject.part);
  check_room(sight, subject.attention(), subject.gigabytes);
  const nn::AttentionInput& in = sight.layers[0].in;
  const PositionNames names =
      name_positions(subject.options.data.task, subject.question.parts[static_cast<std::size_t>(subject.part)],
                     in.mask.to(kCpu), in.values.dim(1), subject.own_tokens());
  PageData page;
  Json layers = Json::array();
  for (const LayerSight& layer : sight.layers) {
    page.matrices.push_back(layer_matrices(layer, subject.attention()));
    layers.push_back(layer_record(layer, page.matrices.back(), subject.attention(), names, page.pictures));
  }
  const Index mixed = std::ssize(names.tokens) - names.hidden - (subject.mixes_padding() ? 0 : names.padding);
  page.data = {
      {"title", cat("Inside ", full_name(subject.attention().kind), ": ", subject.options.data.task)},
      {"facts", facts(subject, sight, names)},
      {"answer", answer_record(subject, sight)},
      {"tokens", names.tokens},
      {"bytes", names.bytes},
      {"padding", names.padding},
      {"layers", layers},
      {"sections", {gradient_section(subject, sight), cost_section(sight.layers[0], subject.attention().kind, mixed)}}};
  if (!names.details.empty()) page.data["details"] = names.details;
  add_image(names, page.data);
  return page;
}

namespace {

constexpr Index kLeastOfCurve = 60;   // values of one, however small the file should be
constexpr Index kLeastOfPicture = 8;  // cells along a side: with fewer there is nothing to see

Index heads_of(const Json& data) {
  Index count = 0;
  for (const Json& layer : data.at("layers")) count += std::ssize(layer.at("heads"));
  return count;
}

std::string size_text(std::size_t bytes) {
  return with_unit(static_cast<double>(bytes)) + "B";
}

// The page with its pictures, in blocks of `block`, and what it says of them.
std::string with_pictures(const PageData& page, Index block, const std::string& size) {
  const Index positions = std::ssize(page.data.at("tokens"));
  const std::string what =
      block == 1 ? cat("every entry of the ", positions, " × ", positions, " matrices")
                 : cat("blocks of ", block, " × ", block, " entries of the ", positions, " × ", positions,
                       " matrices, their mean or their largest entry; numbers and tables are of all entries");
  Json data = page.data;
  data["facts"].push_back({"Pictures", what});
  if (!size.empty()) data["facts"].push_back({"This file", size});
  data["pictures"] = page.pictures.records(block);
  return inspect::page(data);
}

// The numbers of all pictures that stand in a record.
void collect_pictures(const Json& record, std::vector<std::size_t>& numbers) {
  if (record.is_object() && record.contains("groups"))
    for (const Json& group : record.at("groups"))
      for (const Json& number : group) numbers.push_back(number.get<std::size_t>());
  if (record.is_structured())
    for (const Json& inner : record) collect_pictures(inner, numbers);
}

std::vector<FinishedPage::Share> shares(const PageData& page, Index block) {
  const Json pictures = page.pictures.records(block), &data = page.data;
  std::vector<FinishedPage::Share> all = {
      {.of = "the page's program and style", .rest = bytes_beside({{"title", ""}})},
      {.of = "the input's gradients and the costs", .rest = data.at("sections").dump().size()}};
  for (std::size_t l = 0; l < data.at("layers").size(); ++l) {
    FinishedPage::Share& layer = all.emplace_back();
    layer.of = cat("layer ", l + 1);
    layer.rest = data.at("layers")[l].dump().size();
    std::vector<std::size_t> numbers;
    collect_pictures(data.at("layers")[l], numbers);
    for (const std::size_t number : numbers) layer.pictures += pictures[number].dump().size();
  }
  std::ranges::stable_sort(all, std::greater<>(), &FinishedPage::Share::bytes);
  return all;
}

}  // namespace

FinishedPage finished_page(PageData page, std::size_t bytes) {
  const auto beside = [&] { return bytes_beside(page.data) + 1000; };
  for (Index most = kMostOfCurve; most > kLeastOfCurve && beside() > bytes / 3; most /= 2)
    shorten_curves(page.data, std::max(most / 2, kLeastOfCurve));
  const std::size_t texts = beside();
  const Index block = std::min(page.pictures.block_for(bytes > texts ? bytes - texts : 1),
                               (page.pictures.longest() + kLeastOfPicture - 1) / kLeastOfPicture);
  std::string html =
      with_pictures(page, block, block == 1 ? "" : cat("has blocks so as to stay below ", size_text(bytes)));
  if (html.size() <= bytes) return {html, true};
  const auto too_large = [&](std::size_t size) {
    return cat("is larger than the ", size_text(bytes), " that were asked for: ", size_text(size), ", of which ",
               size_text(bytes_beside(page.data)), " are the program, texts, tables and curves of ",
               count_of(heads_of(page.data), "head"), "; its ", page.pictures.size(), " pictures have ",
               (page.pictures.longest() + block - 1) / block, " cells along the positions");
  };
  html = with_pictures(page, block, too_large(html.size()));
  html = with_pictures(page, block, too_large(html.size()));  // with the size that it has with this text
  return {html, false, shares(page, block)};
}

std::string over_limit_text(const FinishedPage& page, double megabytes, bool fresh) {
  constexpr std::size_t kMostNamed = 4;
  std::string said =
      cat("more than --megabytes ", digits(megabytes), ", although pictures and curves are as coarse as they may be: ");
  std::size_t rest = 0;
  for (std::size_t i = 0; i < page.shares.size(); ++i) {
    const FinishedPage::Share& share = page.shares[i];
    if (i >= kMostNamed) {
      rest += share.bytes();
      continue;
    }
    said += cat(i > 0 ? ", " : "", share.of, " ", size_text(share.bytes()));
    if (share.pictures > 0)
      said += cat(" (pictures ", size_text(share.pictures), ", tables and curves ", size_text(share.rest), ")");
  }
  if (rest > 0) said += cat(", all else ", size_text(rest));
  const double enough = std::ceil(static_cast<double>(page.html.size()) / 1e6 * 10.5) / 10;
  said += cat("; --megabytes ", digits(enough), " leaves room");
  return said + (fresh ? ", and a model of fewer --layers or --heads needs less" : "");
}

void write_matrices(const std::string& path, const std::vector<LayerMatrices>& matrices) {
  SafetensorsFile file;
  for (std::size_t l = 0; l < matrices.size(); ++l) {
    file.tensors.emplace(cat("layer", l + 1, ".mixing"), matrices[l].mixing.contiguous());
    if (matrices[l].alone.defined())
      file.tensors.emplace(cat("layer", l + 1, ".without_convolution"), matrices[l].alone.contiguous());
    if (matrices[l].softmax.defined())
      file.tensors.emplace(cat("layer", l + 1, ".softmax"), matrices[l].softmax.contiguous());
  }
  write_safetensors(path, file);
}

}  // namespace subquad::inspect
