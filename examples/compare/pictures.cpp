#include "subquad/examples/compare/pictures.h"

#include <array>
#include <cmath>

#include "subquad/core/error.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::compare {

namespace {

struct Way {
  const char* name;
  Colour colour;
  Marker marker;
  const char* dash;
};

constexpr std::array kWays = {
    Way{"softmax", Colour::ink, Marker::disc, ""},
    Way{"nystrom", Colour::blue, Marker::square, ""},
    Way{"nystrom, 14 steps", Colour::blue, Marker::open_square, "2 2"},
    Way{"fsat", Colour::orange, Marker::triangle, "9 3"},
    Way{"fsat, cross of q and k", Colour::orange, Marker::triangle, "9 3"},
    Way{"fsat, fresh", Colour::orange, Marker::open_triangle, "2 2"},
    Way{"paramixer", Colour::green, Marker::diamond, "4 2"},
    Way{"paramixer, fitted", Colour::green, Marker::diamond, "4 2"},
    Way{"paramixer, fitted, cdil", Colour::green, Marker::open_diamond, "1.5 2.5"},
    Way{"combiner", Colour::purple, Marker::ring, "10 3 2 3"},
    Way{"combiner, max", Colour::purple, Marker::ring, "10 3 2 3"},
    Way{"combiner, mean", Colour::purple, Marker::disc, "5 2"},
    Way{"local", Colour::brown, Marker::cross, "1.5 2.5"},
    Way{"best keys", Colour::grey, Marker::none, ""},
    Way{"best sparse", Colour::grey, Marker::none, "1.5 2"},
    Way{"best lags and columns", Colour::grey, Marker::none, "6 3"},
    Way{"best rank", Colour::grey, Marker::none, ""},
};

Series series_of(const std::string& name) {
  for (const Way& way : kWays)
    if (name == way.name)
      return {.name = name, .spots = {}, .colour = way.colour, .marker = way.marker, .dash = way.dash};
  return {.name = name, .spots = {}, .colour = Colour::grey, .marker = Marker::open_diamond, .dash = ""};  // your own
}

std::string note_of(const ErrorRow& row) {
  std::string note =
      cat(row.budget.empty() ? "" : cat(row.budget, ", "), "N ", lra::grouped(row.positions), ", ",
          lra::grouped(std::llround(row.flops)), " flops a query, error ", lra::number_text(row.matrix_error, 3));
  if (row.mass) note += cat(", mass ", lra::number_text(*row.mass, 4));
  return note;
}

// A curve for each of the ways: a spot for each row that `place` takes.
std::vector<Series> curves(const std::vector<ErrorRow>& rows, const std::string& inputs,
                           const std::vector<std::string>& ways, const auto& place) {
  std::vector<Series> all;
  for (const std::string& way : ways) {
    Series series = series_of(way);
    for (const ErrorRow& row : rows) {
      if (row.inputs != inputs || row.way != way) continue;
      Spot spot;
      if (!place(row, spot)) continue;
      spot.note = note_of(row);
      series.spots.push_back(spot);
    }
    series.line = series.spots.size() > 1;
    if (!series.spots.empty()) all.push_back(std::move(series));
  }
  return all;
}

// The level of the answer that needs no look at any query or key.
void add_mean_level(Panel& panel, const Comparison& c, const std::string& inputs, Index positions,
                    double ErrorRow::*value) {
  if (const ErrorRow* mean = find_row(c, inputs, positions, "mean of all", ""); mean != nullptr)
    panel.levels.push_back({.name = "mean of all values", .value = mean->*value});
}

constexpr const char* kErrorName = "‖A′ − A‖ / ‖A‖";
constexpr const char* kOutputName = "‖A′v − Av‖ / ‖Av‖";
constexpr double kErrorFloor = 1e-3;  // smaller errors are as good as none in a picture

// Its curves fold back along the axis of work.
std::string turn_of_combiner(const Comparison& c) {
  const std::vector<double> budgets = budgets_of(c);
  if (budgets.empty()) return "";
  return cat("Combiner's go from segments of s = ", static_cast<Index>(budgets.front()) / 2,
             " to s = ", static_cast<Index>(budgets.back()) / 2,
             " tokens and turn back in between: a query's s tokens and N / s summaries are fewest at s = √N.");
}

Picture by_work(const Comparison& c, const std::string& what, const char* axis, double ErrorRow::*value) {
  const Index positions = largest_length(c);
  Picture picture{.title = cat("Error of the ", what, " against work, N = ", lra::grouped(positions)),
                  .caption = {cat("Relative Frobenius error against exact softmax of the same q, k, v; one head of ",
                                  c.width, " features. Work: products per query, projections left out."),
                              "Curves go through growing budgets. Grey, no mechanism: the largest weights of each row, "
                              "rescaled (best keys) or as they are (best sparse).",
                              turn_of_combiner(c)},
                  .panels = {}};
  for (const std::string& inputs : input_names(c)) {
    Panel panel{.title = inputs,
                .x = {.name = "flops per query", .measure = Measure::flops},
                .y = {.name = axis, .floor = kErrorFloor},
                .series = curves(c.errors, inputs,
                                 {"best keys", "best sparse", "local", "nystrom", "combiner, max", "combiner, mean",
                                  "fsat, cross of q and k", "paramixer, fitted", "paramixer, fitted, cdil"},
                                 [&](const ErrorRow& row, Spot& spot) {
                                   spot.x = row.flops;
                                   spot.y = row.*value;
                                   return row.positions == positions;
                                 })};
    add_mean_level(panel, c, inputs, positions, value);
    panel.levels.push_back({.name = "softmax", .value = 4 * static_cast<double>(positions * c.width), .upright = true});
    picture.panels.push_back(std::move(panel));
  }
  return picture;
}

Picture by_length(const Comparison& c) {
  Picture picture{
      .title = cat("Error of the mixing matrix against N, at about ", c.keys, " keys a query"),
      .caption = {cat("Relative Frobenius error against exact softmax; ", c.keys / 2, " landmarks, ", c.keys / 2,
                      " lags and ", c.keys / 2, " columns, segments of ", c.keys / 2, ", window ", c.keys / 2,
                      "; paramixer: about log2 N factors, fitted in ", c.fit_steps, " steps.")},
      .panels = {}};
  for (const std::string& inputs : input_names(c))
    picture.panels.push_back({.title = inputs,
                              .x = {.name = "positions N", .measure = Measure::count, .ticks = lengths_of(c)},
                              .y = {.name = kErrorName, .floor = kErrorFloor},
                              .series = curves(c.errors, inputs,
                                               {"best keys", "local", "nystrom", "combiner, max", "combiner, mean",
                                                "fsat, cross of q and k", "paramixer, fitted"},
                                               [&](const ErrorRow& row, Spot& spot) {
                                                 spot.x = static_cast<double>(row.positions);
                                                 spot.y = row.matrix_error;
                                                 return row.way == "paramixer, fitted" ? is_whole_chain(row)
                                                                                       : has_budget(c, row);
                                               })});
  return picture;
}

Picture of_choices(const Comparison& c) {
  const Index positions = largest_length(c);
  Picture picture{.title = cat("What a choice of keys misses, N = ", lra::grouped(positions)),
                  .caption = {"Share of the softmax mass on keys that are not seen; half of the budget are lags, half "
                              "columns, which all queries share. Best keys: chosen for each query alone.",
                              "The best lags and columns are found by two choices taking turns; how far from the "
                              "best possible they may be stands in errors.json."},
                  .panels = {}};
  for (const std::string& inputs : input_names(c))
    picture.panels.push_back(
        {.title = inputs,
         .x = {.name = "keys a query sees", .measure = Measure::count, .ticks = budgets_of(c)},
         .y = {.name = "mass missed"},
         .series =
             curves(c.errors, inputs, {"best keys", "best lags and columns", "fsat, cross of q and k", "fsat, fresh"},
                    [&](const ErrorRow& row, Spot& spot) {
                      spot.x = static_cast<double>(row.keys);
                      spot.y = row.mass ? 1 - *row.mass : 0;
                      return row.positions == positions;
                    })});
  return picture;
}

Picture of_ranks(const Comparison& c) {
  const Index positions = largest_length(c);
  Picture picture{
      .title = cat("Nystrom beside the best matrix of the same rank, N = ", lra::grouped(positions)),
      .caption = {"Relative Frobenius error against exact softmax. Best rank: the singular values that m "
                  "terms leave out (Eckart and Young), a bound for any m landmarks.",
                  "Six steps of the pseudo-inverse are the default. Errors below 0.001 are drawn at 0.001."},
      .panels = {}};
  for (const std::string& inputs : input_names(c)) {
    Panel panel{.title = inputs,
                .x = {.name = "landmarks m", .measure = Measure::count, .ticks = {}},
                .y = {.name = kErrorName, .floor = kErrorFloor},
                .series = curves(c.errors, inputs, {"best rank", "nystrom", "nystrom, 14 steps"},
                                 [&](const ErrorRow& row, Spot& spot) {
                                   spot.x = static_cast<double>(row.keys) / 2;
                                   spot.y = row.matrix_error;
                                   return row.positions == positions;
                                 })};
    for (const double budget : budgets_of(c)) panel.x.ticks.push_back(budget / 2);
    add_mean_level(panel, c, inputs, positions, &ErrorRow::matrix_error);
    picture.panels.push_back(std::move(panel));
  }
  return picture;
}

Picture of_growth(const Comparison& c) {
  struct Quantity {
    const char* title;
    const char* axis;
    Measure measure;
    double GrowthPoint::*value;
    PowerLaw Exponents::*law;
  };
  constexpr std::array kQuantities = {
      Quantity{"forward", "processor time", Measure::seconds, &GrowthPoint::forward, &Exponents::forward},
      Quantity{"forward and backward", "processor time", Measure::seconds, &GrowthPoint::both, &Exponents::both},
      Quantity{"forward", "peak memory", Measure::bytes, &GrowthPoint::forward_bytes, &Exponents::forward_bytes},
      Quantity{"forward and backward", "peak memory", Measure::bytes, &GrowthPoint::both_bytes,
               &Exponents::both_bytes}};
  Picture picture{.title = "Time and memory against N",
                  .caption = {cat("One thread, one sample, ", c.growth_options.width,
                                  " features, default options; projections included. N^p: fitted to the largest three "
                                  "sizes, which lie within so many per cent of the fit.")},
                  .panels = {},
                  .same_y = false};
  for (const Quantity& quantity : kQuantities) {
    Panel panel{.title = cat(quantity.axis, ", ", quantity.title),
                .x = {.name = "positions N", .measure = Measure::count, .ticks = {}},
                .y = {.name = quantity.axis, .measure = quantity.measure},
                .series = {}};
    for (const GrowthCurve& curve : c.growth) {
      Series series = series_of(curve.kind);
      series.name = cat(curve.kind, "  N^", exponent_text(curve.exponents.*quantity.law));
      for (const GrowthPoint& point : curve.points) {
        const auto n = static_cast<double>(point.positions);
        add_once(panel.x.ticks, n);
        series.spots.push_back({.x = n,
                                .y = point.*quantity.value,
                                .note = cat("N ", lra::grouped(point.positions), ": ",
                                            tick_text(point.*quantity.value, quantity.measure))});
      }
      panel.series.push_back(std::move(series));
    }
    picture.panels.push_back(std::move(panel));
  }
  return picture;
}

}  // namespace

std::vector<NamedPicture> pictures(const Comparison& c) {
  std::vector<NamedPicture> all = {
      {"errors_by_work.svg", by_work(c, "mixing matrix", kErrorName, &ErrorRow::matrix_error)},
      {"outputs_by_work.svg", by_work(c, "output", kOutputName, &ErrorRow::output_error)}};
  if (lengths_of(c).size() > 1) all.push_back({"errors_by_length.svg", by_length(c)});
  all.push_back({"choices.svg", of_choices(c)});
  all.push_back({"ranks.svg", of_ranks(c)});
  if (!c.growth.empty()) all.push_back({"growth.svg", of_growth(c)});
  return all;
}

}  // namespace subquad::compare
