#include "subquad/examples/compare/log_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/report/html.h"

namespace subquad::compare {

namespace {

constexpr double kPanelWidth = 520, kPanelHeight = 330, kLeft = 76, kRight = 178, kTop = 34, kBottom = 48;
constexpr double kMargin = 12, kTitle = 30, kCaptionLine = 17, kLabelHeight = 16;

constexpr const char* kStyle = R"(
text { font: 12px "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #4d565f; }
.paper { fill: #fff; }
.title { font-size: 16px; font-weight: bold; fill: #1c1e21; }
.panel { font-size: 13.5px; font-weight: bold; fill: #1c1e21; }
.up { font-size: 9px; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: #e1e4e8; } .fine { stroke: #f0f2f4; } .axis { stroke: #5c6670; } .level { stroke: #5c6670; stroke-dasharray: 1 3; }
.line { fill: none; stroke-width: 1.9; stroke-linejoin: round; stroke-linecap: butt; }
.mark { stroke-width: 1.5; } .open { fill: #fff; } .lead { stroke-width: .7; stroke-opacity: .45; fill: none; }
.ink { stroke: #1c1e21; } .ink-fill { fill: #1c1e21; } .blue { stroke: #0072b2; } .blue-fill { fill: #0072b2; }
.orange { stroke: #c04f00; } .orange-fill { fill: #c04f00; } .green { stroke: #00785a; } .green-fill { fill: #00785a; }
.purple { stroke: #a3477a; } .purple-fill { fill: #a3477a; } .brown { stroke: #7a6000; } .brown-fill { fill: #7a6000; }
.grey { stroke: #6a737c; } .grey-fill { fill: #6a737c; }
@media screen and (prefers-color-scheme: dark) {
text { fill: #a9b2bb; } .paper, .open { fill: #15181c; } .title, .panel { fill: #e6e8ea; }
.grid { stroke: #30363d; } .fine { stroke: #22272c; } .axis, .level { stroke: #8b949e; }
.ink { stroke: #e6e8ea; } .ink-fill { fill: #e6e8ea; } .blue { stroke: #56b4e9; } .blue-fill { fill: #56b4e9; }
.orange { stroke: #f0a030; } .orange-fill { fill: #f0a030; } .green { stroke: #2fc79b; } .green-fill { fill: #2fc79b; }
.purple { stroke: #dd8fbb; } .purple-fill { fill: #dd8fbb; } .brown { stroke: #cbb24a; } .brown-fill { fill: #cbb24a; }
.grey { stroke: #98a1aa; } .grey-fill { fill: #98a1aa; }
}
)";

const char* colour_name(Colour colour) {
  constexpr std::array<const char*, 7> kNames = {"ink", "blue", "orange", "green", "purple", "brown", "grey"};
  return kNames[static_cast<std::size_t>(colour)];
}

std::string fixed1(double number) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << number;
  return out.str();
}

// Escaped; digits or one letter behind a '^' are raised: "N^1.02".
std::string raised(const std::string& text) {
  const std::size_t hat = text.find('^');
  if (hat == std::string::npos || hat + 1 == text.size()) return lra::escaped(text);
  const std::size_t begin = hat + 1, digits = text.find_first_not_of("0123456789.-", begin);
  const std::size_t end = std::min(digits == begin ? begin + 1 : digits, text.size());
  const std::string rest = text.substr(end);
  return cat(lra::escaped(text.substr(0, hat)), "<tspan dy=\"-4\" class=\"up\">",
             lra::escaped(text.substr(begin, end - begin)), "</tspan>",
             rest.empty() ? rest : cat("<tspan dy=\"4\">", lra::escaped(rest), "</tspan>"));
}

std::string text_at(double x, double y, const std::string& style, const std::string& text) {
  return cat("<text class=\"", style, "\" x=\"", fixed1(x), "\" y=\"", fixed1(y), "\">", raised(text), "</text>\n");
}

std::string line_between(double x1, double y1, double x2, double y2, const std::string& style) {
  return cat("<line class=\"", style, "\" x1=\"", fixed1(x1), "\" y1=\"", fixed1(y1), "\" x2=\"", fixed1(x2),
             "\" y2=\"", fixed1(y2), "\"/>\n");
}

// A mark of about 8 x 8 around a point.
std::string mark_at(double x, double y, const Series& series) {
  const auto path = [&](const std::string& d, bool open) {
    return cat("<path class=\"mark ", colour_name(series.colour),
               open ? " open" : cat(" ", colour_name(series.colour), "-fill"), "\" d=\"M", fixed1(x), " ", fixed1(y), d,
               "\"/>");
  };
  switch (series.marker) {
    case Marker::none: return "";
    case Marker::disc: return path("m-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z", false);
    case Marker::ring: return path("m-3.8 0a3.8 3.8 0 1 0 7.6 0a3.8 3.8 0 1 0 -7.6 0z", true);
    case Marker::square: return path("m-3.3-3.3h6.6v6.6h-6.6z", false);
    case Marker::open_square: return path("m-3.4-3.4h6.8v6.8h-6.8z", true);
    case Marker::triangle: return path("m0-4.6l4.4 7.8h-8.8z", false);
    case Marker::open_triangle: return path("m0-4.8l4.6 8.2h-9.2z", true);
    case Marker::diamond: return path("m0-4.8l4.3 4.8l-4.3 4.8l-4.3-4.8z", false);
    case Marker::open_diamond: return path("m0-4.9l4.4 4.9l-4.4 4.9l-4.4-4.9z", true);
    case Marker::cross: return path("m-3.4-3.4l6.8 6.8m0-6.8l-6.8 6.8", true);
  }
  throw InternalError("log_chart: an unknown mark");
}

bool drawn(const Spot& spot) {
  return std::isfinite(spot.x) && std::isfinite(spot.y) && spot.x > 0 && spot.y > 0;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  void include(const Range& other) {
    low = std::min(low, other.low);
    high = std::max(high, other.high);
  }
};

double largest_gap(const std::vector<double>& ticks) {
  double gap = 0;
  for (std::size_t i = 1; i < ticks.size(); ++i) gap = std::max(gap, std::log10(ticks[i] / ticks[i - 1]));
  return gap;
}

// One logarithmic axis: what it spans, and where labels and fine lines stand.
struct Span {
  double low = 1, high = 10;
  std::vector<double> ticks, fine;

  double share(double value) const { return std::log(value / low) / std::log(high / low); }
};

std::vector<double> multiples(const Range& range, const std::vector<double>& factors, double base) {
  std::vector<double> found;
  if (!(range.low > 0)) return found;
  const auto first = static_cast<int>(std::floor(std::log(range.low) / std::log(base)));
  for (int power = first; std::pow(base, power) <= range.high * 1.0001; ++power)
    for (const double factor : factors) {
      const double tick = factor * std::pow(base, power);
      if (tick >= range.low * 0.9999 && tick <= range.high * 1.0001) found.push_back(tick);
    }
  return found;
}

Span span_of(const Axis& axis, Range range) {
  if (!(range.high > 0)) range = {.low = 1, .high = 10};
  const double pad = std::pow(std::max(range.high / range.low, 1.5), 0.04);
  Span span{.low = range.low / pad, .high = range.high * pad, .ticks = axis.ticks, .fine = {}};
  const Range whole{.low = span.low, .high = span.high};
  if (!span.ticks.empty()) return span;
  if (axis.measure == Measure::bytes) {
    for (const double base : {2.0, 4.0, 16.0})
      if (span.ticks.empty() || span.ticks.size() > 7) span.ticks = multiples(whole, {1}, base);
    return span;
  }
  for (const std::vector<double>& factors :
       {std::vector<double>{1}, std::vector<double>{1, 3}, std::vector<double>{1, 2, 5}})
    if (span.ticks.size() < 3 && multiples(whole, factors, 10).size() <= 8) span.ticks = multiples(whole, factors, 10);
  if (largest_gap(span.ticks) > 0.9) span.fine = multiples(whole, {2, 3, 4, 5, 6, 7, 8, 9}, 10);
  return span;
}

class PanelDrawing {
 public:
  PanelDrawing(const Panel& panel, double left, double top, const Range& y_range)
      : panel_(panel), left_(left), top_(top), x_(span_of(panel.x, x_range(panel))), y_(span_of(panel.y, y_range)) {}

  static Range x_range(const Panel& panel) {
    Range range;
    for (const Series& series : panel.series)
      for (const Spot& spot : series.spots)
        if (drawn(spot)) range.include(spot.x);
    for (const Level& level : panel.levels)
      if (level.upright) range.include(level.value);
    return range;
  }
  static Range y_range(const Panel& panel) {
    Range range;
    for (const Series& series : panel.series)
      for (const Spot& spot : series.spots)
        if (drawn(spot)) range.include(std::max(spot.y, panel.y.floor));
    for (const Level& level : panel.levels)
      if (!level.upright) range.include(std::max(level.value, panel.y.floor));
    return range;
  }

  std::string drawing() const {
    std::string out = cat("<g>\n", text_at(left_ + kLeft, top_ + 20, "panel", panel_.title), axes(), levels());
    for (const Series& series : panel_.series) out += curve(series);
    return out + names() + "</g>\n";
  }

 private:
  double x0() const { return left_ + kLeft; }
  double x1() const { return left_ + kPanelWidth - kRight; }
  double y0() const { return top_ + kPanelHeight - kBottom; }
  double y1() const { return top_ + kTop; }
  double x(double value) const { return x0() + (x1() - x0()) * x_.share(value); }
  double y(double value) const { return y0() - (y0() - y1()) * y_.share(std::max(value, panel_.y.floor)); }

  std::string axes() const {
    std::string out;
    for (const double tick : y_.fine) out += line_between(x0(), y(tick), x1(), y(tick), "fine");
    for (const double tick : y_.ticks) {
      out += line_between(x0(), y(tick), x1(), y(tick), "grid");
      out += text_at(x0() - 7, y(tick) + 4, "end", tick_text(tick, panel_.y.measure));
    }
    for (const double tick : x_.ticks) {
      out += line_between(x(tick), y0(), x(tick), y0() + 4, "axis");
      out += text_at(x(tick), y0() + 17, "middle", tick_text(tick, panel_.x.measure));
    }
    for (const double tick : x_.fine) out += line_between(x(tick), y0(), x(tick), y0() + 2.5, "axis");
    out += line_between(x0(), y0(), x1(), y0(), "axis");
    out += text_at((x0() + x1()) / 2, y0() + 36, "middle", panel_.x.name);
    return out + cat("<text class=\"middle\" transform=\"translate(", fixed1(left_ + 14), " ",
                     fixed1((y0() + y1()) / 2), ") rotate(-90)\">", lra::escaped(panel_.y.name), "</text>\n");
  }

  std::string levels() const {
    std::string out;
    for (const Level& level : panel_.levels) {
      if (level.upright) {
        out += line_between(x(level.value), y0(), x(level.value), y1(), "level");
        out += text_at(x(level.value) - 4, y1() + 10, "end", level.name);
      } else {
        out += line_between(x0(), y(level.value), x1(), y(level.value), "level");
      }
    }
    return out;
  }

  std::string curve(const Series& series) const {
    std::string points, marks;
    for (const Spot& spot : series.spots) {
      if (!drawn(spot)) continue;
      points += cat(points.empty() ? "" : " ", fixed1(x(spot.x)), ",", fixed1(y(spot.y)));
      marks += cat("<g><title>", lra::escaped(series.name), spot.note.empty() ? "" : ": ", lra::escaped(spot.note),
                   "</title>", mark_at(x(spot.x), y(spot.y), series), "</g>\n");
    }
    if (!series.line || points.empty()) return marks;
    return cat(polyline(points, series), marks);
  }

  static std::string polyline(const std::string& points, const Series& series) {
    const std::string dash = series.dash.empty() ? "" : cat(" stroke-dasharray=\"", series.dash, "\"");
    return cat("<polyline class=\"line ", colour_name(series.colour), "\"", dash, " points=\"", points, "\"/>\n");
  }

  struct Name {
    double from_x, from_y, y;
    const Series* series;  // null: of a level
    std::string text;
  };

  // Beside the plot, level with each curve's last spot, moved apart where they would touch; a thin line leads to it.
  std::string names() const {
    std::vector<Name> all;
    for (const Series& series : panel_.series)
      for (std::size_t i = series.spots.size(); i-- > 0;)
        if (drawn(series.spots[i])) {
          const double at_x = x(series.spots[i].x), at_y = y(series.spots[i].y);
          all.push_back({at_x, at_y, at_y, &series, series.name});
          break;
        }
    for (const Level& level : panel_.levels)
      if (!level.upright) all.push_back({x1(), y(level.value), y(level.value), nullptr, level.name});
    std::stable_sort(all.begin(), all.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
    for (std::size_t i = 1; i < all.size(); ++i) all[i].y = std::max(all[i].y, all[i - 1].y + kLabelHeight);
    double limit = y0() + kLabelHeight;
    for (std::size_t i = all.size(); i-- > 0; limit = all[i].y - kLabelHeight) all[i].y = std::min(all[i].y, limit);
    std::string out;
    for (const Name& name : all) out += named(name);
    return out;
  }

  std::string named(const Name& name) const {
    const double at = x1() + 14, middle = name.y;
    const std::string colour = name.series != nullptr ? colour_name(name.series->colour) : "axis";
    std::string out =
        cat("<polyline class=\"lead ", colour, "\" points=\"", fixed1(name.from_x), ",", fixed1(name.from_y), " ",
            fixed1(at - 6), ",", fixed1(middle), " ", fixed1(at), ",", fixed1(middle), "\"/>\n");
    if (name.series == nullptr) return out + text_at(at + 5, middle + 4, "", name.text);
    if (name.series->line)
      out += polyline(cat(fixed1(at), ",", fixed1(middle), " ", fixed1(at + 24), ",", fixed1(middle)), *name.series);
    out += mark_at(at + 12, middle, *name.series) + "\n";
    return out + text_at(at + 29, middle + 4, cat(colour, "-fill"), name.text);
  }

  const Panel& panel_;
  double left_, top_;
  Span x_, y_;
};

}  // namespace

std::string tick_text(double value, Measure measure) {
  switch (measure) {
    case Measure::plain: return lra::number_text(value, 3);
    case Measure::count: return lra::grouped(static_cast<Index>(std::llround(value)));
    case Measure::flops:
      if (value >= 1e9) return lra::number_text(value / 1e9, 3) + "G";
      if (value >= 1e6) return lra::number_text(value / 1e6, 3) + "M";
      return value >= 1e3 ? lra::number_text(value / 1e3, 3) + "k" : lra::number_text(value, 3);
    case Measure::seconds:
      if (value >= 1) return lra::number_text(value, 3) + " s";
      return value >= 1e-3 ? lra::number_text(value * 1e3, 3) + " ms" : lra::number_text(value * 1e6, 3) + " µs";
    case Measure::bytes:
      if (value >= 0x1p30) return lra::number_text(value / 0x1p30, 3) + " GiB";
      return value >= 0x1p20 ? lra::number_text(value / 0x1p20, 3) + " MiB"
                             : lra::number_text(value / 0x1p10, 3) + " KiB";
  }
  throw InternalError("log_chart: an unknown measure");
}

std::string svg(const Picture& picture) {
  const auto panels = static_cast<int>(picture.panels.size());
  const int across = std::clamp(picture.across, 1, std::max(panels, 1)), down = (panels + across - 1) / across;
  const double head = kMargin + kTitle + kCaptionLine * static_cast<double>(picture.caption.size());
  const double width = 2 * kMargin + across * kPanelWidth, height = head + down * kPanelHeight + kMargin;
  Range together;
  for (const Panel& panel : picture.panels) together.include(PanelDrawing::y_range(panel));
  std::string out = cat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ", height, "\" width=\"",
                        width, "\" height=\"", height, "\" role=\"img\">\n<title>", lra::escaped(picture.title),
                        "</title>\n<style>", kStyle, "</style>\n<rect class=\"paper\" width=\"", width, "\" height=\"",
                        height, "\" rx=\"6\"/>\n", text_at(kMargin + 8, kMargin + 14, "title", picture.title));
  for (std::size_t i = 0; i < picture.caption.size(); ++i)
    out += text_at(kMargin + 8, kMargin + 34 + kCaptionLine * static_cast<double>(i), "", picture.caption[i]);
  for (int i = 0; i < panels; ++i) {
    const Panel& panel = picture.panels[static_cast<std::size_t>(i)];
    const Range range = picture.same_y ? together : PanelDrawing::y_range(panel);
    out +=
        PanelDrawing(panel, kMargin + (i % across) * kPanelWidth, head + (i / across) * kPanelHeight, range).drawing();
  }
  return out + "</svg>\n";
}

}  // namespace subquad::compare
