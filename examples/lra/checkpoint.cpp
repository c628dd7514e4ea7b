#include "subquad/examples/lra/checkpoint.h"

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

RunState state_from_json(const json& saved) {
  RunState state;
  saved.at("step").get_to(state.step);
  saved.at("evaluated").get_to(state.evaluated);
  saved.at("accuracy").get_to(state.accuracy);
  saved.at("best_step").get_to(state.best_step);
  saved.at("best_accuracy").get_to(state.best_accuracy);
  saved.at("window").at("loss").get_to(state.window.loss);
  saved.at("window").at("correct").get_to(state.window.correct);
  saved.at("window").at("samples").get_to(state.window.samples);
  saved.at("metrics_bytes").get_to(state.metrics_bytes);
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
  try {
    const json saved = json::parse(file.metadata.at("state"));
    check_identity(path.string(), saved, identity);
    return state_from_json(saved);
  } catch (const json::exception& error) {
    throw FormatError(cat(path.string(), ": metadata \"state\": ", error.what()));
  } catch (const std::out_of_range&) {
    throw FormatError(cat(path.string(), ": metadata has no \"state\""));
  }
}

void load_checkpoint_model(const std::filesystem::path& path, Learner& learner) {
  const SafetensorsFile file = read(path);
  naming(path, [&] { learner.load_model(file.tensors); });
}

}  // namespace subquad::lra
