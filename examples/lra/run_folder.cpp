#include "subquad/examples/lra/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <sstream>
#include <string>

#include "subquad/core/error.h"

namespace subquad::lra {

namespace fs = std::filesystem;

namespace {

const std::string kSeedPrefix = "seed-";

[[noreturn]] void fail_exists(const fs::path& path) {
  const bool is_run = fs::exists(path / "config.toml");
  throw Error(cat("--out ", path.string(), " exists and is not overwritten; give another folder",
                  is_run ? ", or go on with it by --resume " + path.string() : ""));
}

}  // namespace

void RunFolder::check_new(const fs::path& path) {
  if (fs::exists(path)) fail_exists(path);
}

void RunFolder::make(const fs::path& path) {
  const fs::path parent = fs::absolute(path).lexically_normal().parent_path();
  std::error_code failure;
  fs::create_directories(parent, failure);
  if (!failure && !fs::create_directory(path, failure) && !failure) fail_exists(path);
  if (failure) throw Error(cat("--out ", path.string(), ": ", failure.message()));
}

RunFolder RunFolder::create(const fs::path& path) {
  make(path);
  std::error_code failure;
  fs::create_directory(path / "checkpoints", failure);
  if (failure) throw Error(cat("--out ", path.string(), ": ", failure.message()));
  return RunFolder(path);
}

fs::path RunFolder::config_in(const fs::path& path, std::string_view lead) {
  const RunFolder folder(path);
  if (!fs::is_directory(path)) throw Error(cat(lead, path.string(), ": there is no such folder"));
  if (!fs::exists(folder.config()))
    throw Error(cat(lead, path.string(), ": it holds no config.toml, so it is not the folder of a run"));
  return folder.config();
}

RunFolder RunFolder::open(const fs::path& path, std::string_view lead) {
  if (!fs::exists(path / "checkpoints"))
    if (const std::vector<fs::path> seeds = seed_folders(path); !seeds.empty())
      throw Error(cat(lead, path.string(), ": it holds the runs of several seeds; give one of them, such as ",
                      seeds.front().string()));
  config_in(path, lead);
  if (!fs::is_directory(path / "checkpoints"))
    throw Error(cat(lead, path.string(), ": its folder checkpoints is missing"));
  return RunFolder(path);
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

fs::path seed_folder(const fs::path& folder, std::uint64_t seed) {
  return folder / cat(kSeedPrefix, seed);
}

std::vector<fs::path> seed_folders(const fs::path& folder) {
  std::vector<std::pair<std::uint64_t, fs::path>> found;
  if (!fs::is_directory(folder)) return {};
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kSeedPrefix) && fs::exists(entry.path() / "config.toml"))
      found.emplace_back(std::strtoull(name.c_str() + kSeedPrefix.size(), nullptr, 10), entry.path());
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> folders;
  for (const auto& [seed, path] : found) folders.push_back(path);
  return folders;
}

RunLock::RunLock(const fs::path& folder) {
  const std::string path = (folder / "lock").string();
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw Error(cat("cannot open ", path, ": ", std::strerror(errno)));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  if (reason == EWOULDBLOCK) throw Error(cat("another program is working on the run ", folder.string()));
  throw Error(cat("cannot lock ", path, ": ", std::strerror(reason)));
}

RunLock::~RunLock() {
  ::close(descriptor_);  // which gives the lock back, as the end of the process does
}

}  // namespace subquad::lra
