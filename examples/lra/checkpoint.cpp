#include "subquad/examples/lra/checkpoint.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "subquad/core/safetensors.h"

namespace subquad::lra {

namespace {

using nlohmann::json;

constexpr const char* kFormat = "subquad lra checkpoint 1";

json to_json(const RunState& state, const RunIdentity& identity) {
  const Index per_epoch = std::max<Index>(identity.batches_per_epoch, 1);
  return {
      {"step", state.step},
      {"evaluated", state.evaluated},
      {"accuracy", state.accuracy},
      {"best_step", state.best_step},
      {"best_accuracy", state.best_accuracy},
      {"stale", state.stale},
      {"window", {{"loss", state.window.loss}, {"correct", state.window.correct}, {"samples", state.window.samples}}},
      {"metrics_bytes", state.metrics_bytes},
      {"rng", {{"seed", identity.seed}, {"step", state.step}}},
      {"data", {{"hash", identity.data_hash}, {"epoch", state.step / per_epoch}, {"batch", state.step % per_epoch}}}};
}

void check_identity(const std::string& path, const json& saved, const RunIdentity& now) {
  if (saved.at("rng").at("seed") != now.seed)
    throw Error(cat(path, ": saved with seed ", saved.at("rng").at("seed"), ", this run has seed ", now.seed));
  const std::string data_hash = saved.at("data").at("hash");
  if (data_hash != now.data_hash)
    throw Error(cat(path, ": saved by a run on other data (hash ", data_hash, ", now ", now.data_hash,
                    "); give the folder of its data with --data"));
}

// The numbers of a saved state, each within what it can be.
class StateReader {
 public:
  StateReader(std::string path, const json& saved) : path_(std::move(path)), saved_(saved) {}

  Index whole(const char* field, Index most) const {
    const json& value = saved_.at(json::json_pointer(field));
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
      fail(field, value, cat("a whole number between 0 and ", most));
    return value.get<Index>();
  }
  double number(const char* field, double most) const {
    const json& value = saved_.at(json::json_pointer(field));
    if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= most))
      fail(field, value, cat("a number between 0 and ", most));
    return value.get<double>();
  }

 private:
  [[noreturn]] void fail(const char* field, const json& value, const std::string& expected) const {
    throw FormatError(
        cat(path_, ": metadata \"state\": ", field + 1, " is ", value.dump().substr(0, 40), ", expected ", expected));
  }

  std::string path_;
  const json& saved_;
};

RunState state_from_json(const std::string& path, const json& saved, const RunIdentity& identity) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  const StateReader read(path, saved);
  RunState state;
  state.step = read.whole("/step", identity.steps);
  state.evaluated = read.whole("/evaluated", state.step);
  state.accuracy = read.number("/accuracy", 1);
  state.best_step = read.whole("/best_step", state.evaluated);
  state.best_accuracy = read.number("/best_accuracy", 1);
  if (saved.contains("stale")) state.stale = read.whole("/stale", state.evaluated);  // not in the first checkpoints
  state.window.loss = read.number("/window/loss", std::numeric_limits<double>::max());
  state.window.samples = read.whole("/window/samples", kMost);
  state.window.correct = read.whole("/window/correct", state.window.samples);
  state.metrics_bytes = static_cast<std::uintmax_t>(read.whole("/metrics_bytes", kMost));
  return state;
}

SafetensorsFile read(const std::filesystem::path& path) {
  SafetensorsFile file = read_safetensors(path);
  const auto format = file.metadata.find("format");
  if (format == file.metadata.end() || format->second != kFormat)
    throw FormatError(
        cat(path.string(), ": not a checkpoint of this program (metadata has no format \"", kFormat, "\")"));
  return file;
}

// Says of which file a complaint of the model is.
template <class F>
void naming(const std::filesystem::path& path, F&& load) {
  try {
    load();
  } catch (const Error& error) {
    throw Error(cat(path.string(), ": a checkpoint of another model: ", error.what()));
  }
}

// What `read` makes of the state in the file's metadata.
template <class F>
auto with_state(const std::string& path, const SafetensorsFile& file, const F& read) {
  try {
    return read(json::parse(file.metadata.at("state")));
  } catch (const json::exception& error) {
    throw FormatError(cat(path, ": metadata \"state\": ", error.what()));
  } catch (const std::out_of_range&) {
    throw FormatError(cat(path, ": metadata has no \"state\""));
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Learner& learner, const RunState& state,
                     const RunIdentity& identity) {
  SafetensorsFile file;
  file.metadata = {{"format", kFormat}, {"state", to_json(state, identity).dump()}};
  file.tensors = learner.state_dict();
  write_safetensors(path, file);
}

RunState load_checkpoint(const std::filesystem::path& path, Learner& learner, const RunIdentity& identity) {
  const SafetensorsFile file = read(path);
  naming(path, [&] { learner.load_state_dict(file.tensors); });
  return with_state(path.string(), file, [&](const json& saved) {
    check_identity(path.string(), saved, identity);
    return state_from_json(path.string(), saved, identity);
  });
}

CheckpointOrigin load_checkpoint_model(const std::filesystem::path& path, Learner& learner) {
  const SafetensorsFile file = read(path);
  naming(path, [&] { learner.load_model(file.tensors); });
  return with_state(path.string(), file, [&](const json& saved) {
    return CheckpointOrigin{.step = StateReader(path.string(), saved).whole("/step", std::numeric_limits<Index>::max()),
                            .data_hash = saved.at("data").at("hash")};
  });
}

}  // namespace subquad::lra
