#include "subquad/examples/inspect/curves.h"

#include <algorithm>
#include <cmath>

namespace subquad::inspect {

namespace {

constexpr int kDigits = 4;

struct Piece {
  double first = 0, last = 0;  // x
  double count = 1;            // values that it stands for
  double mean = 0, least = 0, largest = 0;
};
using Pieces = std::vector<Piece>;

Pieces single(const Line& line) {
  Pieces made;
  for (const auto& [x, y] : line.points)
    if (std::isfinite(x) && std::isfinite(y)) made.push_back({x, x, 1, y, y, y});
  return made;
}

Piece joined(std::span<const Piece> some) {
  Piece all = some.front();
  double sum = 0;
  all.count = 0;
  for (const Piece& piece : some) {
    all.count += piece.count;
    sum += piece.count * piece.mean;
    all.least = std::min(all.least, piece.least);
    all.largest = std::max(all.largest, piece.largest);
  }
  all.last = some.back().last;
  all.mean = sum / all.count;
  return all;
}

// Where the k-th of `count` new pieces begins, as an index.
std::size_t begin_of(const Pieces& pieces, bool log_x, std::size_t k, std::size_t count) {
  const std::size_t step = (pieces.size() + count - 1) / count;
  if (!log_x || pieces.front().first <= 0) return std::min(k * step, pieces.size());
  const double share = static_cast<double>(k) / static_cast<double>(count);
  const double x = pieces.front().first * std::pow((pieces.back().last + 1) / pieces.front().first, share);
  return static_cast<std::size_t>(
      std::ranges::find_if(pieces, [&](const Piece& piece) { return piece.first >= x - 1e-9; }) - pieces.begin());
}

Pieces fewer(const Pieces& pieces, bool log_x, std::size_t count) {
  Pieces made;
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t begin = begin_of(pieces, log_x, k, count), end = begin_of(pieces, log_x, k + 1, count);
    if (begin < end) made.push_back(joined(std::span(pieces).subspan(begin, end - begin)));
  }
  return made;
}

bool whole(const Pieces& pieces) {
  return std::ranges::all_of(pieces, [](const Piece& piece) { return piece.count == 1; });
}

// What lies between the beginnings of neighbours; 0 where it differs.
double step_of(const Pieces& pieces) {
  if (pieces.size() < 2) return 1;
  const double step = pieces[1].first - pieces[0].first;
  for (std::size_t i = 1; i < pieces.size(); ++i)
    if (pieces[i].first - pieces[i - 1].first != step) return 0;
  return step;
}

template <class Of>
Json listed(const Pieces& pieces, const Of& of) {
  Json list = Json::array();
  for (const Piece& piece : pieces) list.push_back(of(piece));
  return list;
}

Json numbers(const Pieces& pieces, double Piece::*of) {
  return listed(pieces, [&](const Piece& piece) { return number(piece.*of, kDigits); });
}

Json record(const std::string& name, bool limit, const Pieces& pieces) {
  Json made = {{"name", name}};
  if (limit) made["limit"] = true;
  const double step = step_of(pieces);
  if (whole(pieces) && step != 1) {
    made["points"] = listed(pieces, [](const Piece& p) { return Json{number(p.first), number(p.mean, kDigits)}; });
    return made;
  }
  if (step != 0)
    made["first"] = number(pieces.empty() ? 0 : pieces.front().first);
  else
    made["starts"] = listed(pieces, [](const Piece& p) { return number(p.first); });
  made["values"] = numbers(pieces, &Piece::mean);
  if (whole(pieces)) return made;
  if (step != 0) made["step"] = number(step);
  made["last"] = number(pieces.back().last);
  made["least"] = numbers(pieces, &Piece::least);
  made["largest"] = numbers(pieces, &Piece::largest);
  return made;
}

Pieces pieces_of(const Json& record) {
  Pieces made;
  if (record.contains("points")) {
    for (const Json& point : record.at("points")) {
      const double x = point[0].get<double>(), y = point[1].get<double>();
      made.push_back({x, x, 1, y, y, y});
    }
    return made;
  }
  const Json& values = record.at("values");
  const bool joint = record.contains("least");
  const double step = record.value("step", 1.0);
  const auto at = [&](const char* name, std::size_t i) { return record.at(name)[i].get<double>(); };
  const auto start = [&](std::size_t i) {
    return record.contains("starts") ? at("starts", i)
                                     : record.at("first").get<double>() + step * static_cast<double>(i);
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double first = start(i), mean = at("values", i);
    if (!joint) {
      made.push_back({first, first, 1, mean, mean, mean});
      continue;
    }
    const double last = i + 1 < values.size() ? start(i + 1) - 1 : record.at("last").get<double>();
    made.push_back({first, last, last - first + 1, mean, at("least", i), at("largest", i)});
  }
  return made;
}

// A value of its own takes one number, a piece three: half as many of these is no more than the eye tells apart.
Pieces cut(const Pieces& pieces, bool log_x, Index most) {
  const auto count = static_cast<std::size_t>(std::max<Index>(most, 2));
  if (whole(pieces) ? pieces.size() <= count : pieces.size() <= count / 2) return pieces;
  return fewer(pieces, log_x, count / 2);
}

}  // namespace

Json curve_record(const Line& line, bool log_x, Index most) {
  return record(line.name, line.limit, cut(single(line), log_x, most));
}

void shorten_curves(Json& page_data, Index most) {
  if (page_data.is_object() && page_data.contains("lines")) {
    for (Json& line : page_data["lines"])
      line = record(line.at("name").get<std::string>(), line.value("limit", false),
                    cut(pieces_of(line), page_data.value("logX", false), most));
    return;
  }
  if (page_data.is_structured())
    for (Json& inner : page_data) shorten_curves(inner, most);
}

}  // namespace subquad::inspect
