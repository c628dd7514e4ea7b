#include "subquad/examples/lra/report/page.h"

#include <algorithm>
#include <cmath>

#include "subquad/core/file.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/report/answers.h"
#include "subquad/examples/lra/report/html.h"
#include "subquad/examples/lra/report/inputs.h"
#include "subquad/examples/lra/report/style.h"
#include "subquad/examples/lra/report/tables.h"

namespace subquad::lra {

namespace {

// Makes one page; its functions are the page's parts, from top to bottom.
class Page {
 public:
  Page(const TrainOptions& options, const Task& task, Index parameters, const History& history)
      : options_(options), task_(task), parameters_(parameters), history_(history) {}

  std::string html() const {
    const std::string title = cat(task_.name, " — ", options_.model.encoder.attention.kind);
    return cat("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n",
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n",
               // nothing may be loaded or run, whatever a text contains
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; ",
               "style-src 'unsafe-inline'\"/>\n<title>", escaped(title), "</title>\n<style>", kPageStyle,
               "</style>\n</head>\n<body>\n<h1>", escaped(title), "</h1>\n", summary(), verdict(), scores(), notes(),
               curves(), confusion(), answers(), timing(), configuration(), "</body>\n</html>\n");
  }

 private:
  bool tested() const { return !history_.tests.empty() && history_.tests.front().contains("accuracy"); }

  std::string summary() const {
    return cat("<p class=\"soft\">", escaped(model_name(options_.model.kind)), ", ", grouped(parameters_),
               " parameters; ", grouped(options_.steps), " steps of ", options_.batches.size, " samples, seed ",
               options_.seed, "; sequences of up to ", grouped(task_.longest()), " tokens; ",
               grouped(task_.train.size()), " training, ", grouped(task_.validation.size()), " validation and ",
               grouped(task_.test.size()), " test samples</p>\n");
  }

  std::string verdict() const {
    return cat("<p class=\"verdict\">", tested() ? tested_verdict() : untested_verdict(), "</p>\n");
  }

  std::string tested_verdict() const {
    const Record& best = history_.tests.front();
    const double accuracy = best.at("accuracy"), size = static_cast<double>(task_.test.size());
    // 95 % of a normal distribution lie within so many standard deviations
    const double margin = 1.96 * std::sqrt(accuracy * (1 - accuracy) / size);
    std::string text = cat("<strong>Test accuracy ", percent(accuracy), "</strong> (± ", number_text(100 * margin, 3),
                           " points at 95 %, for the number of test samples alone): the parameters of step ",
                           best.at("step").dump(), ", which had the best validation accuracy, over every one of the ",
                           grouped(task_.test.size()), " test samples. ");
    const auto lower = [](const Record& a, const Record& b) { return a.value("test", 0.0) < b.value("test", 0.0); };
    const auto highest = std::max_element(history_.baselines.begin(), history_.baselines.end(), lower);
    if (highest == history_.baselines.end()) return text;
    const double baseline = highest->value("test", 0.0);
    const char* how = accuracy - baseline > margin    ? "This is more than"
                      : accuracy - baseline < -margin ? "This is less than"
                                                      : "This cannot be told from";
    return text + cat(how, " the best baseline, ", escaped(highest->value("name", "")), ": ", percent(baseline), ".");
  }

  std::string untested_verdict() const {
    const Curve& found = history_.curve("validation/accuracy");
    const auto lower = [](const Point& a, const Point& b) { return a.value < b.value; };
    const auto best = std::max_element(found.begin(), found.end(), lower);
    std::string text =
        cat("<strong>Not tested yet</strong>: records up to step ", history_.last_step(), " of ", options_.steps, ". ");
    text += best == found.end()
                ? std::string("No validation so far. ")
                : cat("Best validation accuracy so far ", percent(best->value), ", at step ", best->step, ". ");
    return text + cat("To go on: <code>train_lra --resume ", escaped(options_.out), "</code>");
  }

  // Accuracies of checkpoints and baselines side by side.
  std::string scores() const {
    if (!tested()) return "";
    std::string rows;
    const auto add = [&](const char* style, const std::string& name, const std::string& validation, double test) {
      rows += cat("<tr", style, "><td>", escaped(name), "</td><td>", validation, "</td><td>", percent(test),
                  "</td></tr>\n");
    };
    for (const Record& test : history_.tests) {
      const Index step = test.at("step");
      add(&test == &history_.tests.front() ? " class=\"best\"" : "",
          cat(test.value("checkpoint", ""), " checkpoint, step ", grouped(step)), validation_at(step),
          test.at("accuracy"));
    }
    for (const Record& baseline : history_.baselines)
      add("", cat("baseline: ", baseline.value("name", "")), percent(baseline.value("validation", 0.0)),
          baseline.value("test", 0.0));
    return cat("<table class=\"scores\">\n<thead><tr><th>accuracy</th><th>validation</th><th>test</th></tr></thead>\n",
               "<tbody>\n", rows, "</tbody>\n</table>\n");
  }

  std::string validation_at(Index step) const {
    for (const Point& point : history_.curve("validation/accuracy"))
      if (point.step == step) return percent(point.value);
    return "-";
  }

  std::string notes() const {
    if (task_.notes.empty()) return "";
    std::string items;
    for (const std::string& note : task_.notes) items += cat("<li>", escaped(note), "</li>\n");
    return cat("<h2>What to know of this score</h2>\n<ul>\n", items, "</ul>\n");
  }

  std::string curves() const {
    const auto line = [&](const char* name, const char* tag, bool dots = false) {
      return ChartLine{name, history_.curve(tag), dots};
    };
    std::vector<ChartLevel> levels;
    for (const Record& baseline : history_.baselines)
      levels.push_back({baseline.value("name", ""), baseline.value("validation", 0.0)});
    const std::string charts =
        chart_figure({.title = "Accuracy",
                      .quantity = "accuracy",
                      .unit = Unit::percent,
                      .lines = {line("training", "train/accuracy"), line("validation", "validation/accuracy", true)},
                      .levels = levels}) +
        chart_figure({.title = "Loss (cross entropy, nats)",
                      .quantity = "loss",
                      .scale = Scale::fitted,
                      .lines = {line("training", "train/loss"), line("validation", "validation/loss", true)}}) +
        chart_figure({.title = "Learning rate", .lines = {line("learning rate", "train/rate")}}) +
        chart_figure({.title = "Gradient norm, before clipping",
                      .scale = Scale::logarithmic,
                      .lines = {line("gradient norm", "train/gradient_norm")}});
    if (charts.empty()) return "";
    return cat(
        "<h2>Curves</h2>\n<p class=\"soft\">Training: batches since the last record, with dropout. Validation: all ",
        grouped(task_.validation.size()), " samples. A point says its numbers when the mouse is over it.</p>\n",
        "<div class=\"charts\">\n", charts, "</div>\n");
  }

  std::string confusion() const {
    if (!history_.confusion.contains("counts")) return "";
    const auto counts = history_.confusion.at("counts").get<std::vector<std::vector<Index>>>();
    std::string head = "<tr><th scope=\"col\">label \\ predicted</th>";
    for (const std::string& name : task_.class_names) head += cat("<th scope=\"col\">", escaped(name), "</th>");
    head += "<th scope=\"col\">samples</th></tr>";
    std::string rows;
    for (std::size_t label = 0; label < counts.size(); ++label) rows += confusion_row(counts, label);
    return cat(
        "<h2>Which classes are taken for which</h2>\n<p class=\"soft\">Test samples, best checkpoint. A row is a ",
        "label, its percentages add up to 100; framed: right.</p>\n<div class=\"wide\"><table class=\"confusion\">",
        "\n<thead>", head, "</thead>\n<tbody>\n", rows, "</tbody>\n</table></div>\n");
  }

  std::string confusion_row(const std::vector<std::vector<Index>>& counts, std::size_t label) const {
    const std::vector<Index>& row = counts[label];
    Index samples = 0;
    for (const Index count : row) samples += count;
    if (history_.confusion.contains("unanswered"))
      samples += history_.confusion.at("unanswered").at(label).get<Index>();
    std::string cells = cat("<th scope=\"row\">", escaped(task_.class_names.at(label)), "</th>");
    for (std::size_t predicted = 0; predicted < row.size(); ++predicted) {
      const double share = samples > 0 ? static_cast<double>(row[predicted]) / static_cast<double>(samples) : 0;
      cells += cat("<td", predicted == label ? " class=\"right\"" : "", " style=\"--s:", number_text(share, 3), "\">",
                   grouped(row[predicted]), "<span>", percent(share, 1), "</span></td>");
    }
    return cat("<tr>", cells, "<th>", grouped(samples), "</th></tr>\n");
  }

  std::string answers() const {
    if (!history_.samples.contains("right")) return "";
    return cat("<h2>Some answers</h2>\n<p class=\"soft\">Test samples, best checkpoint; numbers count from 0.</p>\n",
               answer_list("Right: the first of the set, classes in turn", "right", "There is no right answer."),
               answer_list("Wrong: the mistakes that the model was surest of", "wrong", "There is no wrong answer."));
  }

  std::string answer_list(const char* title, const char* field, const char* none) const {
    std::string cards;
    for (const Record& answer : history_.samples.at(field)) cards += card(answer);
    if (cards.empty()) cards = cat("<p>", none, "</p>\n");
    return cat("<h3>", title, "</h3>\n<div class=\"answers", input_form(task_) == InputForm::image ? " pictures" : "",
               "\">\n", cards, "</div>\n");
  }

  std::string card(const Record& answer) const {
    const Index sample = answer.at("sample"), label = answer.at("label"), predicted = answer.at("predicted");
    const auto shown = [&](const char* what, Index number, const char* field) {
      const auto probability = answer.find(field);
      return cat("<p>", what, " <strong>", escaped(task_.class_names.at(static_cast<std::size_t>(number))), "</strong>",
                 probability->is_number() ? ", " + percent(probability->get<double>(), 1) : "", "</p>\n");
    };
    std::string text = cat("<article>\n<p class=\"size\">test sample ", sample, "</p>\n");
    text += input_html(task_, task_.test, sample);
    if (label != predicted) text += shown("label", label, "label_probability");
    return text + shown(label == predicted ? "label and prediction" : "prediction", predicted, "probability") +
           "</article>\n";
  }

  std::string timing() const {
    const std::string charts = chart_figure({.title = "Tokens per second, mean of the session so far",
                                             .unit = Unit::per_second,
                                             .lines = {{"tokens/s", history_.curve("speed/tokens_per_second")}}}) +
                               chart_figure({.title = "Largest memory so far",
                                             .unit = Unit::mebibytes,
                                             .lines = {{"tensors", history_.curve("memory/tensors_MiB")},
                                                       {"process", history_.curve("memory/process_MiB")}}});
    const Record& session = history_.session;
    std::string text =
        cat("<section class=\"timing\">\n<h2>Speed and memory</h2>\n<p>", duration_text(history_.seconds),
            " of training and validation in ", history_.sessions, history_.sessions == 1 ? " session" : " sessions");
    if (session.contains("device"))
      text +=
          cat("; the last one on ", escaped(session.value("device", "")), ", ", session.value("threads", 0),
              session.value("threads", 0) == 1 ? " thread" : " threads", ", SIMD ", escaped(session.value("simd", "")));
    const Curve& waiting = history_.curve("speed/waiting_share");
    if (!waiting.empty())
      text +=
          cat("; ", percent(waiting.back().value), " of the last session's training steps went by waiting for data");
    return text + cat(".</p>\n<div class=\"charts\">\n", charts, "</div>\n</section>\n");
  }

  std::string configuration() const {
    return cat("<h2>Configuration</h2>\n<p class=\"soft\">Data hash ", task_.hash(),
               "; a run with these lines as <code>--preset</code> is the same run.</p>\n<pre class=\"config\">",
               escaped(options_.config), "</pre>\n");
  }

  const TrainOptions& options_;
  const Task& task_;
  Index parameters_;
  const History& history_;
};

}  // namespace

std::string page_html(const TrainOptions& options, const Task& task, Index parameters, const History& history) {
  return Page(options, task, parameters, history).html();
}

void write_report(const TrainOptions& options, const Task& task, Index parameters, const RunFolder& folder) {
  write_tables(folder);
  AtomicFile page(folder.path() / "report.html");
  page.write(page_html(options, task, parameters, read_history(folder)));
  page.commit();
}

}  // namespace subquad::lra
