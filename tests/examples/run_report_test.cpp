// What a run leaves for other eyes than ours: tables, TensorBoard's event files, the page. Independent programs read
// them.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <regex>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/report/crc32c.h"
#include "subquad/examples/lra/report/event_file.h"
#include "subquad/examples/lra/report/history.h"
#include "subquad/examples/lra/report/html.h"
#include "subquad/examples/lra/report/inputs.h"
#include "subquad/examples/lra/report/page.h"
#include "subquad/examples/lra/report/tables.h"
#include "subquad/tests/examples/train_lra_runs.h"

using namespace subquad;
using namespace subquad::lra;
using namespace subquad::test::train_lra;
using subquad::test::Finished;
using subquad::test::read_text;
using subquad::test::ScratchFolder;
using subquad::test::Subprocess;

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

Finished read_by_python(const std::string& script, const Args& files) {
  const ScratchFolder scratch;
  std::string command = cat("python3 '", SUBQUAD_SOURCE_DIR, "/tests/examples/", script, "'");
  for (const std::string& file : files) command += cat(" '", file, "'");
  command += cat(" > '", (scratch / "out").string(), "' 2> '", (scratch / "err").string(), "'");
  const int status = std::system(command.c_str());
  return {WEXITSTATUS(status), read_text(scratch / "out"), read_text(scratch / "err")};
}

// All events of the files, each an object.
std::vector<json> read_events(const Args& files) {
  const Finished finished = read_by_python("read_events.py", files);
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  std::vector<json> events;
  std::istringstream lines(finished.out);
  for (std::string line; std::getline(lines, line);) events.push_back(json::parse(line));
  return events;
}

json read_page(const fs::path& path) {
  const Finished finished = read_by_python("read_report.py", {path.string()});
  CAPTURE(finished.err);
  REQUIRE_EQ(finished.status, 0);
  return json::parse(finished.out);
}

json read_page_text(const std::string& html) {
  const ScratchFolder scratch;
  std::ofstream(scratch / "report.html", std::ios::binary) << html;
  return read_page(scratch / "report.html");
}

Args event_files(const fs::path& run) {
  Args found;
  for (const fs::directory_entry& entry : fs::directory_iterator(run))
    if (entry.path().filename().string().find("tfevents") != std::string::npos) found.push_back(entry.path().string());
  std::sort(found.begin(), found.end());
  return found;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

using Points = std::map<std::string, std::map<Index, double>>;  // by tag, by step

// As TensorBoard does: the start of a session takes back what was said of its step and of those behind it.
Points shown_by_tensorboard(const std::vector<json>& events) {
  Points points;
  for (const json& event : events) {
    const Index step = event.at("step");
    if (event.contains("status"))
      for (auto& [tag, by_step] : points) by_step.erase(by_step.lower_bound(step), by_step.end());
    for (const auto& [tag, value] : event.at("scalars").items()) points[tag][step] = value;
  }
  return points;
}

// A page without its sections that tell of clocks.
std::string without_timing(const std::string& page) {
  std::string rest = page;
  for (std::size_t begin; (begin = rest.find("<section class=\"timing\">")) != std::string::npos;)
    rest.erase(begin, rest.find("</section>", begin) - begin);
  return rest;
}

double number_of(const json& points, const std::string& name) {
  CAPTURE(name);
  REQUIRE(points.contains(name));
  return std::stod(points.at(name).get<std::string>());
}

}  // namespace

TEST_SUITE_BEGIN("cpu");

TEST_CASE("crc32c: the answers of RFC 3720, section B.4") {
  CHECK_EQ(crc32c(""), 0u);
  CHECK_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  CHECK_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string rising, falling;
  for (char c = 0; c < 32; ++c) {
    rising += c;
    falling.insert(falling.begin(), c);
  }
  CHECK_EQ(crc32c(rising), 0x46dd794eu);
  CHECK_EQ(crc32c(falling), 0x113fdb5cu);
  std::string command(48, '\0');  // an iSCSI read command
  const std::pair<std::size_t, int> set[] = {{0, 0x01},  {1, 0xc0},  {16, 0x14}, {22, 0x04},
                                             {27, 0x14}, {31, 0x18}, {32, 0x28}, {40, 0x02}};
  for (const auto& [at, byte] : set) command[at] = static_cast<char>(byte);
  CHECK_EQ(crc32c(command), 0xd9963a56u);
}

TEST_CASE("event files: protoc reads what was written, and a wrong byte is seen") {
  const ScratchFolder scratch;
  const fs::path path = scratch / "events.out.tfevents.1";
  {
    EventFile file(path, 1.5e9);
    file.start_session(301, 1.5e9 + 0.25);
    file.write(400, 1.5e9 + 1, {{"train/loss", 2.25}, {"speed/tokens_per_second", 1e6 / 3}, {"zero", 0}});
    file.write(401, 1.5e9 + 2, {});
    file.write(Index{1} << 40, 1.5e9 + 3, {{"größe \"x\"", -1e-30}});
  }
  const std::vector<json> events = read_events({path.string()});
  REQUIRE_EQ(events.size(), 4u);
  CHECK_EQ(events[0].at("file_version"), "brain.Event:2");
  CHECK_EQ(events[0].at("wall_time"), 1.5e9);
  CHECK_EQ(events[1].at("status"), "START");
  CHECK_EQ(events[1].at("step"), 301);
  CHECK_EQ(events[1].at("wall_time"), 1.5e9 + 0.25);
  CHECK_EQ(events[2].at("step"), 400);
  CHECK_EQ(events[2].at("scalars").size(), 3u);
  CHECK_EQ(events[2].at("scalars").at("train/loss"), 2.25);
  CHECK_EQ(events[2].at("scalars").at("speed/tokens_per_second").get<float>(), static_cast<float>(1e6 / 3));
  CHECK_EQ(events[2].at("scalars").at("zero"), 0);
  CHECK_EQ(events[3].at("step"), Index{1} << 40);
  CHECK_THROWS_WITH_AS(EventFile(path, 0), doctest::Contains("cannot be made: File exists"), Error);

  const std::string good = read_text(path);
  for (std::size_t at = 0; at < good.size(); at += 19) {
    CAPTURE(at);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    std::ofstream(path, std::ios::binary) << bad;
    const Finished finished = read_by_python("read_events.py", {path.string()});
    CHECK_EQ(finished.status, 1);
    CHECK(contains(finished.err, "checksum"));
  }
}

TEST_CASE("tables: a row a record, digits as they stand, quotes where RFC 4180 wants them") {
  const ScratchFolder scratch;
  const fs::path run = scratch / "run";
  fs::create_directories(run / "checkpoints");
  std::ofstream(run / "config.toml") << "";
  std::ofstream(run / "metrics.jsonl") << R"({"kind":"start","seed":1}
{"kind":"train","step":5,"epoch":0,"loss":2.3000000000000003,"accuracy":1e-07,"rate":0.001,"gradient_norm":1.0}
{"kind":"validation","step":5,"loss":null,"accuracy":0.5}
{"kind":"baseline","name":"the \"first\", or so","validation":0.25,"test":0.125}
{"kind":"test","checkpoint":"best and last","step":5,"loss":1.0,"accuracy":0.75}
{"kind":"confusion","step":5}
)";
  std::ofstream(run / "timing.jsonl") << R"({"kind":"session","step":0,"device":"cpu","threads":2,"simd":"AVX2"}
{"kind":"speed","step":5,"seconds":0.5,"tokens_per_second":10.5,"waiting_share":0.0,"peak_bytes":7,"process_bytes":9}
{"kind":"evaluation","step":5,"set":"test","seconds":3.0,"waiting_share":0.25}
)";
  CHECK_EQ(read_history(RunFolder::open(run)).seconds, 0.5);  // the time of the training loop, evaluations within
  write_tables(RunFolder::open(run));
  CHECK_EQ(read_text(run / "metrics.csv"),
           "kind,step,epoch,loss,accuracy,rate,gradient_norm,checkpoint,name,validation,test\r\n"
           "train,5,0,2.3000000000000003,1e-07,0.001,1.0,,,,\r\n"
           "validation,5,,,0.5,,,,,,\r\n"
           "baseline,,,,,,,,\"the \"\"first\"\", or so\",0.25,0.125\r\n"
           "test,5,,1.0,0.75,,,best and last,,,\r\n");
  CHECK_EQ(read_text(run / "timing.csv"),
           "kind,step,seconds,tokens_per_second,waiting_share,peak_bytes,process_bytes,device,threads,simd,set\r\n"
           "session,0,,,,,,cpu,2,AVX2,\r\n"
           "speed,5,0.5,10.5,0.0,7,9,,,,\r\n"
           "evaluation,5,3.0,,0.25,,,,,,test\r\n");
}

TEST_CASE("train_lra: killed and resumed leaves the tables, curves and page of a run that was left alone") {
  const Bench bench;
  const Args more = {"--steps", "300", "--log-every", "7", "--evaluate-every", "50", "--checkpoint-every", "60"};
  const fs::path whole = bench.run("whole"), killed = bench.run("killed");
  const Finished finished = train(bench.args("whole", more));
  REQUIRE_EQ(finished.status, 0);
  CHECK(contains(finished.err, (whole / "report.html").string()));
  Subprocess first(program(), bench.args("killed", more));
  wait_for_step(killed, 80);
  first.signal(SIGKILL);
  first.wait();
  REQUIRE_EQ(train({"--resume", killed.string()}).status, 0);

  CHECK_EQ(read_text(whole / "metrics.csv"), read_text(killed / "metrics.csv"));
  std::size_t rows = 0;
  for (const json& record : records(killed))
    rows += record.at("kind") != "start" && record.at("kind") != "confusion" && record.at("kind") != "samples";
  const std::string table = read_text(killed / "metrics.csv");
  CHECK_EQ(std::count(table.begin(), table.end(), '\n'), static_cast<std::ptrdiff_t>(rows) + 1);

  CHECK_EQ(event_files(whole).size(), 1u);
  CHECK_EQ(event_files(killed).size(), 2u);
  const Points of_whole = shown_by_tensorboard(read_events(event_files(whole)));
  const Points of_killed = shown_by_tensorboard(read_events(event_files(killed)));
  std::size_t points = 0;
  for (const json& record : records(killed)) {
    const std::string kind = record.at("kind");
    if (kind != "train" && kind != "validation" && kind != "test") continue;
    for (const char* name : {"loss", "accuracy", "rate", "gradient_norm"}) {
      if (!record.contains(name)) continue;
      const bool last = record.value("checkpoint", "") == "last";
      const std::string tag = cat(kind, last ? "/last_" : "/", name);
      CAPTURE(tag);
      const Index step = record.at("step");
      CHECK_EQ(static_cast<float>(of_killed.at(tag).at(step)), record.at(name).get<float>());
      CHECK_EQ(of_killed.at(tag), of_whole.at(tag));
      ++points;
    }
  }
  CHECK_GT(points, 4u * 42u);  // no more than these
  for (const char* tag : {"speed/tokens_per_second", "memory/tensors_MiB", "memory/process_MiB"}) {
    CAPTURE(tag);
    CHECK_EQ(of_killed.at(tag).size(), of_killed.at("train/loss").size());
  }

  const std::string page = read_text(killed / "report.html");
  CHECK_LT(page.size(), 1u << 20);
  const std::string other =
      std::regex_replace(read_text(whole / "report.html"), std::regex(whole.string()), killed.string());
  CHECK_EQ(without_timing(page), without_timing(other));
  CHECK_LT(without_timing(page).size(), page.size());
}

TEST_CASE("train_lra: the page's numbers are those of the records") {
  const Bench bench;
  REQUIRE_EQ(train(bench.args("run", {"--steps", "60", "--evaluate-every", "20"})).status, 0);
  const json page = read_page(fs::path(bench.run("run")) / "report.html");
  const json& points = page.at("points");
  std::size_t found = 0;
  for (const json& record : records(bench.run("run"))) {
    const std::string kind = record.at("kind");
    const auto check = [&](const char* line, const char* name, double unit) {
      const double shown = number_of(points, cat(line, ", step ", record.at("step").get<Index>()));
      CHECK_LE(std::fabs(shown - unit * record.at(name).get<double>()), 5.01e-4 * std::fabs(shown));
      ++found;
    };
    if (kind == "train") {
      check("training loss", "loss", 1);
      check("training accuracy", "accuracy", 100);
      check("learning rate", "rate", 1);
      check("gradient norm", "gradient_norm", 1);
    } else if (kind == "validation") {
      check("validation loss", "loss", 1);
      check("validation accuracy", "accuracy", 100);
    } else if (kind == "confusion" && record.at("checkpoint").get<std::string>().starts_with("best")) {
      CHECK_EQ(page.at("cells"), record.at("counts"));
      Index samples = 0;
      for (const json& row : page.at("cells"))
        for (const Index count : row) samples += count;
      CHECK_EQ(samples, 20);
      ++found;
    } else if (kind == "test" && record.at("checkpoint").get<std::string>().starts_with("best")) {
      const std::string text = page.at("text");
      CHECK(contains(text, "Test accuracy " + percent(record.at("accuracy"))));
      CHECK(contains(text, cat("the parameters of step ", record.at("step").get<Index>())));
      CHECK(contains(text, "over every one of the 20 test samples"));
      ++found;
    } else if (kind == "baseline") {
      CHECK(contains(page.at("text"), cat("baseline: ", record.at("name").get<std::string>(),
                                          percent(record.at("validation")), percent(record.at("test")))));
      ++found;
    }
  }
  CHECK_EQ(found, 12u * 4u + 3u * 2u + 1u + 1u + 3u);
}

TEST_CASE("train_lra: a run that was stopped has a page of what there is") {
  const Bench bench;
  const Args more = {"--steps", "1000", "--max-minutes", "0.0000001"};
  REQUIRE_EQ(train(bench.args("run", more)).status, 0);
  const json page = read_page(fs::path(bench.run("run")) / "report.html");
  CHECK(contains(page.at("text"), "Not tested yet: records up to step"));
  CHECK(contains(page.at("text"), "train_lra --resume " + bench.run("run")));
  CHECK(page.at("cells").empty());
}

namespace {

TrainOptions some_options() {
  TrainOptions options;
  options.out = "runs/<a> & \"b\"";
  options.config = "task=\"custom\"\n# <b>\n";
  return options;
}

History tested_history(const Record& right, const Record& wrong) {
  History history;
  history.curves["train/loss"] = {{5, 2.5}};
  history.tests.push_back({{"kind", "test"}, {"checkpoint", "best"}, {"step", 5}, {"loss", 1.0}, {"accuracy", 0.5}});
  history.samples = {{"right", right}, {"wrong", wrong}};
  history.confusion = {{"counts", {{1, 0}, {1, 0}}}, {"unanswered", {0, 1}}};
  return history;
}

Record answer(Index sample, Index label, Index predicted) {
  return {{"sample", sample},
          {"label", label},
          {"predicted", predicted},
          {"probability", 0.75},
          {"label_probability", 0.25}};
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

TEST_CASE("page: whatever a text contains is shown as text") {
  const std::string bad = "<script>alert(1)</script> &amp; \"quotes\" \x01 \xff\xc3 \xed\xa0\x80 gr\xc3\xbc\xc3\x9f";
  Task task;
  task.name = "custom <i>";
  task.shape = {.vocabulary = 257, .classes = 2, .parts = 2};
  task.class_names = {"<no>", "a&b"};
  task.notes = {"1 < 2"};
  task.test = Sequences(1, 2);
  task.test.append_bytes({bytes_of(bad), bytes_of("</pre><img src=x onerror=alert(2)>")}, 0);
  task.test.append_bytes({bytes_of(std::string(700, 'x')), bytes_of("")}, 1);
  const History history = tested_history(Record::array({answer(0, 0, 0)}), Record::array({answer(1, 1, 0)}));
  const json page = read_page_text(page_html(some_options(), task, 10, history));
  const std::string text = page.at("text");
  const std::string r = "\xEF\xBF\xBD";
  CHECK(contains(text, "<script>alert(1)</script> &amp; \"quotes\" " + r + " " + r + r + " " + r + r + r + " grüß"));
  CHECK(contains(text, "</pre><img src=x onerror=alert(2)>"));
  CHECK(contains(text, std::string(600, 'x') + " …"));
  CHECK_FALSE(contains(text, std::string(601, 'x')));
  CHECK(contains(text, "the beginning of 700 bytes"));
  CHECK(contains(text, "label <no>") == false);
  CHECK(contains(text, "label and prediction <no>, 75.0 %"));
  CHECK(contains(text, "label a&b, 25.0 %"));
  CHECK(contains(text, "prediction <no>, 75.0 %"));
  CHECK(contains(text, "# <b>"));
  CHECK(contains(text, "1 < 2"));
  CHECK_EQ(page.at("cells"), json({{1, 0}, {1, 0}}));
  CHECK_EQ(page.at("points"), json({{"training loss, step 5", "2.5"}}));
}

TEST_CASE("page: images stand in the page itself, expressions as they are written") {
  Task task;
  task.shape = {.vocabulary = 256, .classes = 2};
  task.class_names = {"apart", "connected"};
  const std::vector<std::uint8_t> pixels = {0, 128, 255, 7};
  task.test.append_bytes({pixels}, 1);
  const json page = read_page_text(
      page_html(some_options(), task, 10, tested_history(Record::array({answer(0, 1, 1)}), Record::array())));
  CHECK_EQ(page.at("pictures"), 1);
  CHECK(contains(page.at("text"), "2 × 2 pixels"));
  CHECK(contains(page.at("text"), "There is no wrong answer."));

  Task lists;
  lists.token_names = {"", "[MAX", "]", "1"};
  lists.test.append(std::vector<Token>{1, 3, 3, 2}, 1);
  CHECK_EQ(input_html(lists, lists.test, 0), "<pre>[MAX 1 1 ]</pre>\n<p class=\"size\">4 tokens</p>\n");
}

TEST_CASE("page: texts are cut between characters; base64; numbers") {
  CHECK_EQ(cut_text("gr\xc3\xbc\xc3\x9f", 3), "gr");
  CHECK_EQ(cut_text("gr\xc3\xbc\xc3\x9f", 4), "gr\xc3\xbc");
  CHECK_EQ(cut_text("\xff\xff\xff\xff\xff", 3), "\xff\xff\xff");
  CHECK_EQ(cut_text("abc", 3), "abc");
  const auto encoded = [](const std::string& text) { return base64(bytes_of(text)); };
  CHECK_EQ(encoded(""), "");  // RFC 4648, section 10
  CHECK_EQ(encoded("f"), "Zg==");
  CHECK_EQ(encoded("fo"), "Zm8=");
  CHECK_EQ(encoded("foobar"), "Zm9vYmFy");
  CHECK_EQ(encoded("\xfb\xff"), "+/8=");
  CHECK_EQ(grouped(999), "999");
  CHECK_EQ(grouped(25000), "25,000");
  CHECK_EQ(grouped(-1234567), "-1,234,567");
  CHECK_EQ(percent(0.4567), "45.67 %");
  CHECK_EQ(percent(NAN), "-");
}

TEST_CASE("charts: ticks, thinned curves, and values that a logarithm refuses") {
  CHECK_EQ(tick_values(0, 1, 5), std::vector<double>{0, 0.2, 2 * 0.2, 3 * 0.2, 4 * 0.2, 1});
  CHECK_EQ(tick_values(3, 3, 5).size(), 4u);
  CHECK_LE(tick_values(-7, 13, 5).front(), -7);
  CHECK_GE(tick_values(-7, 13, 5).back(), 13);
  Curve curve;
  for (Index step = 1; step <= 1000; ++step) curve.push_back({step, static_cast<double>(step)});
  const Curve thin = thinned(curve, 250);
  REQUIRE_EQ(thin.size(), 250u);
  CHECK_EQ(thin[0].step, 4);
  CHECK_EQ(thin[0].value, 2.5);
  CHECK_EQ(thinned(curve, 1000).size(), 1000u);
  CHECK_EQ(thinned({}, 5).size(), 0u);
  CHECK_EQ(chart_figure({.title = "none", .lines = {{"a", {}}}}), "");
  const Curve norms = {{1, 0.0}, {2, 5.0}};
  const std::string figure = chart_figure({.title = "norm", .scale = Scale::logarithmic, .lines = {{"norm", norms}}});
  CHECK_FALSE(contains(figure, "nan"));
  CHECK_FALSE(contains(figure, "inf"));
  CHECK(contains(figure, "<title>norm, step 2: 5</title>"));
}

TEST_SUITE_END();
