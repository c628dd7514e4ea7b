#include "subquad/examples/lra/report/chart.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::lra {

namespace {

constexpr double kWidth = 640, kHeight = 300, kLeft = 58, kRight = 190, kTop = 12, kBottom = 40;
constexpr double kLabelHeight = 15;

std::string fixed1(double number) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << number;
  return out.str();
}

std::string text_at(double x, double y, const char* style, const std::string& text) {
  return cat("<text class=\"", style, "\" x=\"", fixed1(x), "\" y=\"", fixed1(y), "\">", escaped(text), "</text>\n");
}

std::string line_between(double x1, double y1, double x2, double y2, const char* style) {
  return cat("<line class=\"", style, "\" x1=\"", fixed1(x1), "\" y1=\"", fixed1(y1), "\" x2=\"", fixed1(x2),
             "\" y2=\"", fixed1(y2), "\"/>\n");
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// What is drawn: thinned lines, and where values and steps lie.
class Plot {
 public:
  explicit Plot(const Chart& chart) : chart_(chart), logarithmic_(chart.scale == Scale::logarithmic) {
    Range values;
    for (ChartLine& line : chart_.lines) {
      if (!line.curve.empty()) last_step_ = std::max(last_step_, line.curve.back().step);
      const std::size_t records = line.curve.size();
      line.curve = thinned(line.curve, kMostPoints);
      if (records > line.curve.size())
        means_.push_back(
            cat(line.name, ": means of ", (records + line.curve.size() - 1) / line.curve.size(), " records"));
      for (const Point& point : line.curve) values.include(point.value);
    }
    for (const ChartLevel& level : chart_.levels) values.include(level.value);
    logarithmic_ = logarithmic_ && values.low > 0;
    if (chart.scale == Scale::from_zero) values.include(0);
    y_ticks_ = logarithmic_ ? logarithmic_ticks(values) : tick_values(values.low, values.high, 5);
  }

  std::string picture() const {
    std::string out = cat("<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
                          escaped(chart_.title), " over training steps\">\n");
    out += axes();
    for (const ChartLevel& level : chart_.levels)
      out += line_between(kLeft, y(level.value), kWidth - kRight, y(level.value), "level");
    for (std::size_t i = 0; i < chart_.lines.size(); ++i) out += curve(chart_.lines[i], i == 0 ? "one" : "two");
    return out + names() + "</svg>\n";
  }

  std::string note() const {
    std::string text;
    for (const std::string& one : means_) text += (text.empty() ? "" : "; ") + one;
    return text;
  }

 private:
  // 1, 2 and 5 times powers of ten around the values, powers alone where they span much; at least two.
  static std::vector<double> logarithmic_ticks(const Range& values) {
    const bool wide = values.high > 100 * values.low;
    std::vector<double> ticks;
    for (double power = std::floor(std::log10(values.low)); ticks.empty() || ticks.back() < values.high; ++power)
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10, power);
        if ((wide && factor != 1.0) || (!ticks.empty() && ticks.back() >= values.high && ticks.size() > 1)) continue;
        if (!ticks.empty() && tick <= values.low) ticks.clear();  // a nearer one
        ticks.push_back(tick);
      }
    return ticks;
  }

  double x(Index step) const {
    const double share = last_step_ > 0 ? static_cast<double>(step) / static_cast<double>(last_step_) : 0;
    return kLeft + (kWidth - kLeft - kRight) * share;
  }
  double y(double value) const {
    const auto place = [&](double v) { return logarithmic_ ? std::log10(v) : v; };
    const double low = place(y_ticks_.front()), high = place(y_ticks_.back());
    return kHeight - kBottom - (kHeight - kTop - kBottom) * (place(value) - low) / (high - low);
  }

  std::string axes() const {
    std::string out;
    for (const double tick : y_ticks_) {
      out += line_between(kLeft, y(tick), kWidth - kRight, y(tick), "grid");
      out += text_at(kLeft - 6, y(tick) + 4, "tick end", value_text(tick, chart_.unit));
    }
    for (const double tick : tick_values(0, static_cast<double>(last_step_), 5)) {
      const auto step = static_cast<Index>(std::llround(tick));
      if (step > last_step_ || std::fabs(tick - static_cast<double>(step)) > 1e-6) continue;
      out += line_between(x(step), kHeight - kBottom, x(step), kHeight - kBottom + 4, "axis");
      out += text_at(x(step), kHeight - kBottom + 17, "tick middle", grouped(step));
    }
    out += line_between(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis");
    return out + text_at((kLeft + kWidth - kRight) / 2, kHeight - 6, "tick middle", "training steps");
  }

  std::string curve(const ChartLine& line, const char* style) const {
    std::string path, spots;
    for (const Point& point : line.curve) {
      const std::string at_x = fixed1(x(point.step)), at_y = fixed1(y(point.value));
      path += cat(path.empty() ? "" : " ", at_x, ",", at_y);
      spots += cat("<circle", line.dots || line.curve.size() == 1 ? " class=\"dot\"" : "", " cx=\"", at_x, "\" cy=\"",
                   at_y, "\" r=\"", line.dots ? 3.5 : 3, "\"><title>", escaped(line.name),
                   chart_.quantity.empty() ? "" : " ", escaped(chart_.quantity), ", step ", point.step, ": ",
                   value_text(point.value, chart_.unit), "</title></circle>\n");
    }
    return cat("<g class=\"", style, "\"><polyline points=\"", path, "\"/>\n", spots, "</g>\n");
  }

  // At the right edge, level with where each line ends, moved apart where they would touch.
  std::string names() const {
    struct Name {
      double y;
      const char* style;
      std::string text;
    };
    std::vector<Name> all;
    for (const ChartLevel& level : chart_.levels)
      all.push_back({y(level.value), "name level-name", cat(level.name, " ", value_text(level.value, chart_.unit))});
    for (std::size_t i = 0; i < chart_.lines.size(); ++i) {
      const ChartLine& line = chart_.lines[i];
      if (line.curve.empty()) continue;
      const double last = line.curve.back().value;
      all.push_back({y(last), i == 0 ? "name one" : "name two", cat(line.name, " ", value_text(last, chart_.unit))});
    }
    std::stable_sort(all.begin(), all.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
    for (std::size_t i = 1; i < all.size(); ++i) all[i].y = std::max(all[i].y, all[i - 1].y + kLabelHeight);
    double limit = kHeight - kBottom + kLabelHeight;  // and back up, where the last would leave the picture
    for (std::size_t i = all.size(); i-- > 0; limit = all[i].y - kLabelHeight) all[i].y = std::min(all[i].y, limit);
    std::string out;
    for (const Name& name : all) out += text_at(kWidth - kRight + 8, name.y + 4, name.style, name.text);
    return out;
  }

  Chart chart_;
  bool logarithmic_;
  Index last_step_ = 0;
  std::vector<double> y_ticks_;
  std::vector<std::string> means_;
};

}  // namespace

std::string value_text(double value, Unit unit) {
  switch (unit) {
    case Unit::percent: return number_text(100 * value) + " %";
    case Unit::per_second: return rate_text(value);
    case Unit::mebibytes: return number_text(std::round(value), 7) + " MiB";
    case Unit::number: break;
  }
  return number_text(value);
}

std::vector<double> tick_values(double low, double high, int about) {
  if (high <= low) high = low + (low == 0 ? 1 : std::fabs(low) / 10);
  const double rough = (high - low) / about, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * (1 - 1e-9)) step = factor * power;
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

Curve thinned(const Curve& curve, std::size_t most) {
  const std::size_t group = (curve.size() + most - 1) / most;
  if (group <= 1) return curve;
  Curve means;
  for (std::size_t begin = 0; begin < curve.size(); begin += group) {
    const std::size_t end = std::min(begin + group, curve.size());
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += curve[i].value;
    means.push_back({curve[end - 1].step, sum / static_cast<double>(end - begin)});
  }
  return means;
}

std::string chart_figure(const Chart& chart) {
  if (std::all_of(chart.lines.begin(), chart.lines.end(), [](const ChartLine& line) { return line.curve.empty(); }))
    return "";
  const Plot plot(chart);
  const std::string note = plot.note();
  return cat("<figure><figcaption>", escaped(chart.title),
             note.empty() ? std::string() : cat(" <small>", escaped(note), "</small>"), "</figcaption>\n",
             plot.picture(), "</figure>\n");
}

}  // namespace subquad::lra
