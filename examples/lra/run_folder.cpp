#include "subquad/examples/lra/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iomanip>
#include <sstream>
#include <string>

#include "subquad/core/error.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_exists(const fs::path& path) {
  const bool is_run = fs::exists(path / "config.toml");
  throw Error(cat("--out ", path.string(), " exists and is not overwritten; give another folder",
                  is_run ? ", or go on with it by --resume " + path.string() : ""));
}

// "OUT/seed-1" of a folder that holds such runs; else "".
std::string first_seed(const fs::path& path) {
  std::vector<std::string> found;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, failure))
    if (entry.path().filename().string().starts_with("seed-") && fs::exists(entry.path() / "config.toml"))
      found.push_back(entry.path().string());
  return found.empty() ? "" : *std::min_element(found.begin(), found.end());
}

}  // namespace

void RunFolder::check_new(const fs::path& path) {
  if (fs::exists(path)) fail_exists(path);
}

RunFolder RunFolder::create(const fs::path& path) {
  const fs::path parent = fs::absolute(path).lexically_normal().parent_path();
  std::error_code failure;
  fs::create_directories(parent, failure);
  if (!failure && !fs::create_directory(path, failure) && !failure) fail_exists(path);
  if (!failure) fs::create_directory(path / "checkpoints", failure);
  if (failure) throw Error(cat("--out ", path.string(), ": ", failure.message()));
  return RunFolder(path);
}

RunFolder RunFolder::open(const fs::path& path, std::string_view lead) {
  RunFolder folder(path);
  const auto require = [&](bool good, const char* otherwise) {
    if (!good) throw Error(cat(lead, path.string(), ": ", otherwise));
  };
  require(fs::is_directory(path), "there is no such folder");
  if (const std::string seed = first_seed(path); !fs::exists(folder.config()) && !seed.empty())
    throw Error(cat(lead, path.string(), ": it holds the runs of several seeds; give one of them, such as ", seed));
  require(fs::exists(folder.config()), "it holds no config.toml, so it is not the folder of a run");
  require(fs::is_directory(path / "checkpoints"), "its folder checkpoints is missing");
  return folder;
}

fs::path RunFolder::checkpoint(Index step) const {
  std::ostringstream name;
  name << "step-" << std::setw(6) << std::setfill('0') << step << ".safetensors";
  return path_ / "checkpoints" / name.str();
}

std::optional<fs::path> RunFolder::newest_checkpoint() const {
  const std::vector<fs::path> all = numbered();
  if (all.empty()) return std::nullopt;
  return all.back();
}

void RunFolder::tidy(std::size_t keep) const {
  const std::vector<fs::path> all = numbered();
  for (std::size_t i = 0; i + keep < all.size(); ++i) fs::remove(all[i]);
}

std::vector<fs::path> RunFolder::numbered() const {
  std::vector<fs::path> found;
  std::error_code failure;
  const fs::directory_iterator entries(path_ / "checkpoints", failure);
  if (failure) throw Error(cat("cannot list ", (path_ / "checkpoints").string(), ": ", failure.message()));
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.ends_with(".safetensors")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {  // step-1000000 after step-999999
    return std::pair(a.string().size(), a) < std::pair(b.string().size(), b);
  });
  return found;
}

RunLock::RunLock(const RunFolder& folder) {
  const std::string path = (folder.path() / "lock").string();
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw Error(cat("cannot open ", path, ": ", std::strerror(errno)));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  if (reason == EWOULDBLOCK) throw Error(cat("another program is working on the run ", folder.path().string()));
  throw Error(cat("cannot lock ", path, ": ", std::strerror(reason)));
}

RunLock::~RunLock() {
  ::close(descriptor_);  // which gives the lock back, as the end of the process does
}

}  // namespace subquad::lra
