// A page of inspect_attention as its tests read it: the records that it holds, and cells as numbers again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "subquad/examples/inspect/page_data.h"

namespace subquad::test::inspected {

using namespace subquad::inspect;

using Args = std::vector<std::string>;

const std::string kExpression = "[MAX 2 9 [MIN 4 7 ] 0 [SM 3 8 1 ] [MED 5 6 ] ]";

Subject subject_of(const Args& args);

// Of a tiny model, where `more` does not say otherwise.
Subject fresh(const Args& more, const std::string& input = kExpression);

Json data_of(const std::string& html);

// As the page reads it.
std::vector<double> cells_of(const Json& cells);

// How far cells are from a matrix, in what rounding to 16 bits of their own range may do: 1 at most.
double cells_apart(const Json& picture, const Tensor& matrix);

void check_picture(const Json& picture, const Tensor& matrix);

// Of those at the top of a head; null where there is none, as below.
const Json* picture_of(const Json& data, const Json& head, const std::string& id);

// Of what the mechanism decided, a head's last section, wherever in it it stands.
const Json* decided_picture(const Json& data, const Json& head, const std::string& id);

void check_decided(const Json& data, const Json& head, const std::string& id, const Tensor& matrix);

// The row of a table that begins with a name.
std::vector<std::string> row_named(const Json& table, const std::string& name);

// Curves have four digits. `scale`: what roundings of float32 are shares of.
void check_line(const Json& line, const std::vector<double>& expected, double scale);

// A page of one layer and what it is about.
struct Looked {
  explicit Looked(const Args& args) : Looked(args, [](Subject&) {}) {}
  // `prepare` may give the model other numbers before it is looked at.
  Looked(const Args& args, const std::function<void(Subject&)>& prepare)
      : subject(fresh(args)), sight((prepare(subject), look(subject.learner->model(), subject.batch))) {
    data = data_of(finished_page(page_data(subject), 15'000'000).html);
  }
  const LayerSight& layer() const { return sight.layers[0]; }
  const Json& head(Index h) const { return data.at("layers")[0].at("heads")[static_cast<std::size_t>(h)]; }
  const Json& chart(Index h, std::size_t which) const {
    return head(h).at("sections")[1].at("parts")[1].at("charts")[which].at("lines");
  }
  Subject subject;
  Sight sight;
  Json data;
};

}  // namespace subquad::test::inspected
