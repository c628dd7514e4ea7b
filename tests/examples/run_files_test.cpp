// Progress, records, the run folder and signals.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "subquad/core/error.h"
#include "subquad/examples/lra/progress.h"
#include "subquad/examples/lra/record_log.h"
#include "subquad/examples/lra/run_folder.h"
#include "subquad/examples/lra/stop_request.h"
#include "subquad/tests/examples/scratch_folder.h"

using namespace subquad;
using namespace subquad::lra;
using subquad::test::read_text;
using subquad::test::ScratchFolder;

TEST_SUITE_BEGIN("cpu");

TEST_CASE("progress: durations, rates and the line") {
  CHECK_EQ(duration_text(7), "0:07");
  CHECK_EQ(duration_text(724.6), "12:05");
  CHECK_EQ(duration_text(11045), "3:04:05");
  CHECK_EQ(duration_text(-1), "0:00");
  CHECK_EQ(rate_text(512), "512.0");
  CHECK_EQ(rate_text(81234), "81.2k");
  CHECK_EQ(rate_text(1.5e6), "1.5M");
  CHECK_EQ(progress_text({1200, 5000, 2.0131, 0.2828, 81234, 725}),
           "step 1200/5000   loss 2.013   accuracy 0.283   81.2k tokens/s   12:05 left");
}

TEST_CASE("progress: one redrawn line on a terminal") {
  std::ostringstream out;
  {
    ProgressLine line(out, true, 5);
    CHECK(line.due());
    line.show("first");
    CHECK_FALSE(line.due());
    line.print("stays");
    line.show("second");
  }
  CHECK_EQ(out.str(), "\rfirst\x1b[K\r\x1b[Kstays\n\rsecond\x1b[K\n");
}

TEST_CASE("progress: plain lines elsewhere") {
  std::ostringstream out;
  {
    ProgressLine line(out, false, 0);
    line.show("first");
    CHECK(line.due());
    line.print("stays");
  }
  CHECK_EQ(out.str(), "first\nstays\n");
}

TEST_CASE("record log: one line a record, cut back to where a checkpoint was taken") {
  const ScratchFolder scratch;
  const auto path = scratch / "metrics.jsonl";
  std::uintmax_t kept = 0;
  {
    RecordLog log(path, 0);
    log.write({{"kind", "train"}, {"loss", 0.1}});
    kept = log.bytes();
    log.write({{"kind", "lost"}});
    log.sync();
  }
  CHECK_EQ(read_text(path), "{\"kind\":\"train\",\"loss\":0.1}\n{\"kind\":\"lost\"}\n");
  RecordLog(path, kept).write({{"kind", "again"}});
  CHECK_EQ(read_text(path), "{\"kind\":\"train\",\"loss\":0.1}\n{\"kind\":\"again\"}\n");
  RecordLog(path).write({{"kind", "more"}});
  CHECK_EQ(read_text(path), "{\"kind\":\"train\",\"loss\":0.1}\n{\"kind\":\"again\"}\n{\"kind\":\"more\"}\n");
  CHECK_THROWS_WITH_AS(
      RecordLog(path, 1000),
      cat(path.string(), ": 61 bytes, but the checkpoint was saved after 1000; the records before it ", "are missing")
          .c_str(),
      FormatError);
}

TEST_CASE("record log: a full disk is an error") {
  if (access("/dev/full", W_OK) != 0) {
    MESSAGE("skipped: no /dev/full");
    return;
  }
  RecordLog log("/dev/full", 0);
  CHECK_THROWS_WITH_AS(log.write({{"kind", "train"}}), "/dev/full: cannot write: No space left on device", Error);
}

TEST_CASE("run folder: never overwritten, and only a run is opened") {
  const ScratchFolder scratch;
  const auto path = scratch / "run";
  CHECK_THROWS_WITH_AS(RunFolder::open(path, "--resume "),
                       cat("--resume ", path.string(), ": there is no such folder").c_str(), Error);
  const RunFolder folder = RunFolder::create(path);
  CHECK_THROWS_WITH_AS(RunFolder::create(path),
                       cat("--out ", path.string(), " exists and is not overwritten; give another folder").c_str(),
                       Error);
  CHECK_THROWS_WITH_AS(RunFolder::open(path),
                       cat(path.string(), ": it holds no config.toml, so it is not the folder of a run").c_str(),
                       Error);
  std::ofstream(folder.config()) << "steps = 1\n";
  CHECK_FALSE(RunFolder::open(path).newest_checkpoint().has_value());
  CHECK_THROWS_WITH_AS(RunFolder::create(path),
                       cat("--out ", path.string(), " exists and is not overwritten; give another folder, or go on ",
                           "with it by --resume ", path.string())
                           .c_str(),
                       Error);
  std::filesystem::remove(path / "checkpoints");
  CHECK_THROWS_WITH_AS(RunFolder::open(path), cat(path.string(), ": its folder checkpoints is missing").c_str(), Error);
}

TEST_CASE("run folder: locked by one program at a time") {
  const ScratchFolder scratch;
  const RunFolder folder = RunFolder::create(scratch / "run");
  {
    const RunLock lock(folder.path());
    CHECK_THROWS_WITH_AS(RunLock{folder.path()},
                         cat("another program is working on the run ", folder.path().string()).c_str(), Error);
  }
  CHECK_NOTHROW(RunLock{folder.path()});
}

TEST_CASE("run folder: the newest checkpoints are kept") {
  const ScratchFolder scratch;
  const RunFolder folder = RunFolder::create(scratch / "run");
  for (const Index step : {100, 999999, 1000000, 200}) std::ofstream(folder.checkpoint(step)) << "x";
  std::ofstream(folder.best()) << "x";
  CHECK_EQ(folder.checkpoint(100).filename(), "step-000100.safetensors");
  CHECK_EQ(folder.newest_checkpoint(), folder.checkpoint(1000000));
  folder.tidy(2);
  CHECK_FALSE(std::filesystem::exists(folder.checkpoint(200)));
  CHECK(std::filesystem::exists(folder.checkpoint(999999)));
  CHECK(std::filesystem::exists(folder.best()));
}

TEST_CASE("stop request: a signal is remembered, the second one meets the default") {
  const StopRequest stop;
  CHECK_FALSE(stop);
  std::raise(SIGTERM);
  CHECK(stop);
  CHECK_EQ(stop.signal(), SIGTERM);
  struct sigaction now = {};
  sigaction(SIGTERM, nullptr, &now);
  const bool is_default = now.sa_handler == SIG_DFL;
  CHECK(is_default);
}

TEST_SUITE_END();
