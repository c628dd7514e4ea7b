#include "subquad/examples/lra/run_folder.h"

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <string>

#include "subquad/core/error.h"

namespace subquad::lra {

namespace fs = std::filesystem;

void RunFolder::check_new(const fs::path& path) {
  if (fs::exists(path))
    throw Error(cat("--out ", path.string(),
                    " exists and is not overwritten; give another folder, or go on with it by ", "--resume ",
                    path.string()));
}

RunFolder RunFolder::create(const fs::path& path) {
  check_new(path);
  std::error_code failure;
  fs::create_directories(path / "checkpoints", failure);
  if (failure) throw Error(cat("--out ", path.string(), ": ", failure.message()));
  return RunFolder(path);
}

RunFolder RunFolder::open(const fs::path& path) {
  RunFolder folder(path);
  if (!fs::is_directory(path)) throw Error(cat("--resume ", path.string(), ": there is no such folder"));
  if (!fs::exists(folder.config()))
    throw Error(cat("--resume ", path.string(), ": it holds no config.toml, so it is not the folder of a run"));
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
  for (const fs::directory_entry& entry : fs::directory_iterator(path_ / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.ends_with(".safetensors")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {  // step-1000000 after step-999999
    return std::pair(a.string().size(), a) < std::pair(b.string().size(), b);
  });
  return found;
}

}  // namespace subquad::lra
