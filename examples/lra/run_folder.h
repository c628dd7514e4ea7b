// What a run leaves behind:
//
//   RUN/config.toml                          the resolved configuration; --resume reads it back
//   RUN/metrics.jsonl, RUN/timing.jsonl      records (record_log.h); these three are made from them:
//   RUN/metrics.csv, RUN/timing.csv          tables (report/tables.h), made anew at each checkpoint and at the end
//   RUN/events.out.tfevents.000001           curves for TensorBoard (report/event_log.h), a file a session
//   RUN/report.html                          a page to look at (report/page.h), made when the run stops or ends
//   RUN/trace.json                           of --profile (profile/trace.h), made when its steps are done
//   RUN/checkpoints/step-000500.safetensors  the newest ones, two unless --keep says more
//   RUN/checkpoints/best.safetensors         the one with the best validation accuracy
//   RUN/lock                                 empty; locked by the program that the run belongs to at the moment
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "subquad/core/shape.h"

namespace subquad::lra {

class RunFolder {
 public:
  // Error when something of that name exists: a run is never overwritten, nor made by two programs at once.
  static void check_new(const std::filesystem::path& path);
  static void make(const std::filesystem::path& path);  // an empty folder, with those above it
  static RunFolder create(const std::filesystem::path& path);
  // Error when it is not the folder of a run; `lead` stands before the path there.
  static RunFolder open(const std::filesystem::path& path, std::string_view lead = "");

  // What a run in this folder, or several with different seeds, was told. Error where it is no such folder.
  static std::filesystem::path config_in(const std::filesystem::path& path, std::string_view lead = "");

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path timing() const { return path_ / "timing.jsonl"; }
  std::filesystem::path trace() const { return path_ / "trace.json"; }
  std::filesystem::path best() const { return path_ / "checkpoints" / "best.safetensors"; }
  std::filesystem::path checkpoint(Index step) const;

  std::optional<std::filesystem::path> newest_checkpoint() const;  // of the numbered ones
  // Removes all numbered checkpoints but the newest `keep`.
  void tidy(std::size_t keep) const;

 private:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::vector<std::filesystem::path> numbered() const;  // oldest first

  std::filesystem::path path_;
};

// Where several runs lie that differ by their seed (seed_runs.h): that of one, and those that are there, by seed.
std::filesystem::path seed_folder(const std::filesystem::path& folder, std::uint64_t seed);
std::vector<std::filesystem::path> seed_folders(const std::filesystem::path& folder);

// Keeps other programs from going on with the run, or runs, in a folder, for as long as it lives.
class RunLock {
 public:
  explicit RunLock(const std::filesystem::path& folder);  // Error when another program has the run
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace subquad::lra
