// Checks every golden file of a folder by what its metadata says it is; see README.md beside this file.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <vector>

#include "subquad/tests/golden/changed_files.h"
#include "subquad/tests/golden/kinds.h"
#include "subquad/tests/support/temporary_folder.h"

namespace subquad::test {
namespace {

struct Kind {
  const char* mechanism;
  const char* kind;
  GoldenErrors (*check)(const GoldenFile& file, DType dtype);
  double float32_bound;  // on both errors; float64's is kFloat64Bound for all
};
constexpr double kFloat64Bound = 1e-10;
constexpr double kOp = 2e-5, kModel = 1e-4;  // one op; a block or more of them
constexpr Kind kKinds[] = {
    {"softmax", "softmax", golden_softmax, kOp},
    {"paramixer", "chord_matmul", golden_chord_matmul, kOp},
    {"paramixer", "block", golden_paramixer_block, kModel},
    {"paramixer", "classifier", golden_paramixer_classifier, kModel},
    {"paramixer", "order", golden_paramixer_classifier, kModel},
    {"paramixer", "adding", golden_paramixer_adding, kModel},
    {"combiner", "attention", golden_combiner_attention, kOp},
    {"fsat", "cross", golden_fsat_cross, kOp},
    {"fsat", "topk", golden_fsat_topk, kOp},
    {"fsat", "gather", golden_fsat_gather, kOp},
    {"fsat", "module", golden_fsat_module, kModel},
    {"nystromformer", "attention", golden_nystromformer_attention, kOp},
    {"nystromformer", "pinv", golden_nystromformer_pinv, kOp},
    {"nystromformer", "encoder_layer", golden_nystromformer_layer, kModel},
    {"nystromformer", "classifier", golden_nystromformer_classifier, kModel},
    {"nystromformer", "two_tower", golden_nystromformer_two_tower, kModel},
};

std::filesystem::path golden_folder() {
  const char* other = std::getenv("SUBQUAD_GOLDEN_DIR");
  if (other != nullptr && *other != '\0') return other;
  return std::filesystem::path(SUBQUAD_SOURCE_DIR) / "tests/golden";
}

std::vector<std::filesystem::path> golden_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

const Kind& kind_of(const GoldenFile& file) {
  const std::string &mechanism = file.option("mechanism"), &kind = file.option("kind");
  for (const Kind& known : kKinds)
    if (mechanism == known.mechanism && kind == known.kind) return known;
  throw Error(cat("no check understands kind ", kind, " of ", mechanism));
}

// Appends the errors to `line`; true when all of them are within their bounds.
bool check(const GoldenFile& file, std::ostream& line) {
  const Kind& kind = kind_of(file);
  if (file.says("dropout") && file.real("dropout") != 0)
    throw Error(cat("dropout is '", file.option("dropout"), "', expected 0"));
  bool passed = true;
  for (const DType dtype : {kFloat64, kFloat32}) {
    GoldenErrors errors;
    for_each_simd_target([&] { errors.include(kind.check(file, dtype)); });
    line << ' ' << dtype << " results " << errors.results << " gradients " << errors.gradients << ',';
    if (!errors.left_out.empty()) line << ' ' << errors.left_out << ',';
    const double bound = dtype == kFloat64 ? kFloat64Bound : kind.float32_bound;
    passed = passed && errors.results <= bound && errors.gradients <= bound;
  }
  file.check_all_read();
  return passed;
}

// Its line goes to `out`.
bool check(const std::filesystem::path& path, std::ostream& out) {
  std::ostringstream line;
  line.precision(2);
  bool passed = false;
  try {
    passed = check(GoldenFile(read_safetensors(path)), line);
  } catch (const std::exception& error) {
    line << ' ' << error.what() << ',';
  }
  out << path.stem().string() << ':' << line.str() << (passed ? " pass" : " fail") << '\n';
  return passed;
}

// What the program says of a file, written and read back.
std::string verdict(const SafetensorsFile& file) {
  const TemporaryFolder folder;
  write_safetensors(folder / "case.safetensors", file);
  std::ostringstream line;
  const bool passed = check(folder / "case.safetensors", line);
  CHECK(line.str().ends_with(passed ? " pass\n" : " fail\n"));
  return line.str();
}

}  // namespace

TEST_CASE("golden files") {
  const std::vector<std::filesystem::path> files = golden_files();
  CHECK_MESSAGE(!files.empty(), "no .safetensors file in " << golden_folder());
  for (const std::filesystem::path& file : files) CHECK_MESSAGE(check(file, std::cout), file);
}

TEST_CASE("a golden file can be of butterfly links") {
  CHECK(verdict(butterfly_case()).ends_with(" pass\n"));
}

TEST_CASE("a golden file can be of lucidrains' code, which has no softmax branch") {
  SafetensorsFile file = zeros_in_front_case();
  CHECK(verdict(file).ends_with(" pass\n"));
  if (!device().is_cpu()) return;
  file.metadata["branch"] = "nystrom";
  CHECK(verdict(file).ends_with(" pass\n"));
  file.metadata["branch"] = "softmax";
  CHECK(verdict(file).ends_with(" fail\n"));
}

TEST_CASE("a golden file can name every option of Nystrom attention") {
  if (!device().is_cpu()) return;
  const auto with = [](const char* name, const char* key, const char* value) {
    SafetensorsFile file = file_here(name);
    file.metadata[key] = value;
    return verdict(file);
  };
  CHECK(with("nystromformer_conv", "order", "kernels_first").ends_with(" pass\n"));
  CHECK(with("nystromformer_conv", "segments", "padded").ends_with(" pass\n"));
  CHECK(with("nystromformer_conv", "segments", "automatic").ends_with(" pass\n"));
  for (const char* name : {"nystromformer_exact_init", "nystromformer_pinv_exact"}) {  // not the gradients of others
    CHECK(with(name, "detach_coefficient", "0").ends_with(" pass\n"));
    CHECK(with(name, "detach_coefficient", "1").ends_with(" fail\n"));
  }
}

TEST_CASE("a golden file whose tensor is missing or has another shape fails") {
  if (!device().is_cpu()) return;  // kinds without CUDA kernels are not read there
  for (const char* name : {"combiner_fixed_causal", "fsat_topk_ties", "paramixer_matmul_cdil", "softmax_pad"}) {
    const SafetensorsFile good = file_here(name);
    for (const auto& [tensor_name, value] : good.tensors) {
      const auto with = [&, tensor_name = tensor_name](const Tensor& other) {
        SafetensorsFile changed = good;
        changed.tensors[tensor_name] = other;
        return verdict(changed);
      };
      CAPTURE(tensor_name);
      CHECK(with(empty({0}, value.dtype(), kCpu)).ends_with(" fail\n"));
      CHECK(with(twice(value)).ends_with(" fail\n"));
      if (value.rank() > 1) CHECK(with(value.reshape({value.size()})).ends_with(" fail\n"));
      SafetensorsFile without = good;
      without.tensors.erase(tensor_name);
      CHECK(verdict(without) == "case: the file has no tensor " + tensor_name + ", fail\n");
    }
  }
  SafetensorsFile half = butterfly_case();
  half.tensors["out"] = half.tensors["out"].slice(1, 0, 2);
  CHECK(verdict(half) == "case: out is [1, 2, 1], expected [1, 4, 1], fail\n");
}

TEST_CASE("a golden file whose metadata are not understood or contradict its tensors fails") {
  if (!device().is_cpu()) return;
  struct Change {
    std::string file, key, value, says;
  };
  const Change changes[] = {
      {"combiner_fixed_causal", "mask", "right padding", "mask is 'right padding', but the file has no in.mask"},
      {"combiner_fixed_causal", "heads", "3", "heads is 3, but in.q is [2, 2, 32, 8]"},
      {"combiner_fixed_causal_deepset", "parameters", "w_o", "parameters is 'w_o', but the file has w_pool_k,w_pool_q"},
      {"combiner_rowmajor_causal_proj", "model_dim", "8", "model_dim is 8, but in.x is [2, 32, 16]"},
      {"fsat_module_st", "heads", "0", "heads is '0', expected a whole number of at least 1"},
      {"fsat_module_st", "n_col", "0", "n_col is 0, but cols is"},
      {"fsat_module_st", "noise", "1", "the file has no tensor noise_lag"},
      {"fsat_module_st", "causal", "1", "the check has no use for causal = '1' in the metadata"},
      {"nystromformer_conv", "num_landmarks", "0", "num_landmarks is '0', expected a whole number of at least 1"},
      {"nystromformer_conv", "scale", "1/head_dim", "the check has no use for scale = '1/head_dim'"},
      {"nystromformer_conv", "dropout", "0.5", "dropout is '0.5', expected 0"},
      {"nystromformer_conv", "branch", "softmax", "branch is 'softmax', expected nystrom"},
      {"nystromformer_conv", "segments", "per_sample",
       "segments is 'per_sample', which does not go with mask_mode official and landmark_rule 'equal segments'"},
      {"nystromformer_conv", "order", "banana", "'banana', expected one of values_first, kernels_first"},
      {"nystromformer_pinv_exact", "detach_coefficient", "banana", "detach_coefficient is 'banana', expected 0, 1"},
      {"paramixer_matmul_chord", "n_links", "-3", "n_links is '-3', expected a whole number of at least 0"},
      {"paramixer_matmul_chord", "dim", "banana", "dim is 'banana', expected a whole number"},
      {"paramixer_matmul_cdil", "n_factors", "4", "n_factors is 4, but in.weights is [5, 2, 32, 9]"},
      {"paramixer_matmul_chord", "protocol", "cdil", "protocol is 'cdil', which has no links with offsets 0 1 2 4 8"},
      {"paramixer_matmul_cdil", "protocol", "chord",
       "protocol is 'chord', which has no links with offsets 0 1 2 3 4 -1 -2 -3 -4"},
      {"paramixer_matmul_cdil", "protocol", "butterfly", "protocol is 'butterfly', which has no links with offsets 0"},
      {"paramixer_adding_chord", "factor_rule", "ceil", "n_factors is 4, but factor_rule 'ceil' makes 5 of seq_len 24"},
      {"paramixer_classifier_flatten_chord", "factor_rule", "floor",
       "n_factors is 5, but factor_rule 'floor' makes 4 of seq_len 20"},
      {"paramixer_block_chord", "n_factors", "3", "n_factors is 3, but the file has 4 tensors param.fs.*"},
      {"softmax_pad", "causal", "banana", "causal is 'banana', expected 0, 1, false or true"},
      {"softmax_pad", "lengths", "33 20", "lengths is '33 20', expected '33 20 1'"},
  };
  for (const Change& change : changes) {
    SafetensorsFile file = file_here(change.file);
    file.metadata[change.key] = change.value;
    const std::string said = verdict(file);
    CAPTURE(change.file);
    CHECK_MESSAGE(said.find(change.says) != std::string::npos, said);
    CHECK(said.ends_with(" fail\n"));
  }
  SafetensorsFile described = file_here("softmax_pad");
  described.metadata["source"] = "another";
  described.metadata["causal"] = "false";
  CHECK(verdict(described).ends_with(" pass\n"));
}

TEST_CASE("a golden file with a tensor that its check does not read fails") {
  if (!device().is_cpu()) return;
  struct Extra {
    std::string file, name;
  };
  const Extra extras[] = {
      {"combiner_average_causal", "mid.lse"},
      {"combiner_fixed_causal", "param.w_k"},
      {"combiner_vertical_causal", "mid.k_span"},
      {"fsat_cross_pad", "index"},
      {"fsat_gather_full", "bias"},
      {"fsat_module_st", "noise_lag"},
      {"fsat_topk_ties", "a"},
      {"nystromformer_classifier", "in.mask"},
      {"nystromformer_full_softmax", "mid.pinv"},
      {"nystromformer_layer", "mid.x"},
      {"nystromformer_pinv_exact", "mid.z"},
      {"nystromformer_plain", "mid.pinv_inverse"},
      {"nystromformer_two_tower", "in.tokens_2"},
      {"paramixer_adding_chord", "mid.layer2"},
      {"paramixer_block_chord", "in.mask"},
      {"paramixer_classifier_cls_cdil", "mid.layer0"},
      {"paramixer_matmul_chord", "grad.offsets"},
      {"softmax_pad", "mid.scores"},
  };
  for (const Extra& extra : extras) {
    SafetensorsFile file = file_here(extra.file);
    file.tensors[extra.name] = zeros({2, 2}, kFloat64, kCpu);
    CHECK_MESSAGE(verdict(file).ends_with("the check has no use for the tensor " + extra.name + ", fail\n"),
                  extra.file);
  }
  SafetensorsFile dense = file_here("fsat_limit_dense");
  dense.metadata["dense"] = "0";
  CHECK(verdict(dense).ends_with("the check has no use for the tensor dense_grad_bk, fail\n"));
  dense.metadata.erase("dense");
  CHECK(verdict(dense).ends_with(" pass\n"));
  dense.tensors["out_dense"] = moved_at(dense.tensors["out_dense"], 0, 9);
  CHECK(verdict(dense).ends_with(" fail\n"));
}

TEST_CASE("a golden file may name parameters that no result depends on") {
  if (!device().is_cpu()) return;
  SafetensorsFile file = file_here("paramixer_adding_chord");
  const std::string gradient = "grad.param.embedding.weight";
  file.tensors[gradient] = zeros({3, 8}, kFloat64, kCpu);
  CHECK(verdict(file).ends_with(" pass\n"));
  file.tensors[gradient] = moved_at(file.tensors[gradient], 5, 1e-3);
  CHECK(verdict(file).ends_with("unused_parameters names embedding.weight, but " + gradient + " is not 0, fail\n"));
  file.tensors.erase(gradient);
  file.metadata["unused_parameters"] = "embedding.weight";
  CHECK(verdict(file).ends_with("the check has no use for the tensor param.apc_embedding.weight, fail\n"));
  file.metadata["unused_parameters"] = "embedding.weight,apc_embedding.weight,final.bias";
  CHECK(verdict(file).ends_with("unused_parameters names final.bias, but the check uses param.final.bias, fail\n"));
}

TEST_CASE("a golden file's mask is of zeros and ones") {
  if (!device().is_cpu()) return;
  for (const char* name : {"combiner_fixed_bidir_mask", "nystromformer_mask"})
    for (const double by : {0.5, -2.0, 1e-9, std::nan("")}) {
      SafetensorsFile file = file_here(name);
      file.tensors["in.mask"] = moved_at(file.tensors["in.mask"], 3, by);
      const std::string said = verdict(file);
      CHECK_MESSAGE(said.starts_with("case: in.mask holds "), said);
      CHECK(said.ends_with(", expected 0 or 1, fail\n"));
    }
  for (const char* name : {"paramixer_matmul_cdil", "paramixer_block_chord", "paramixer_adding_chord"}) {
    SafetensorsFile file = file_here(name);
    file.metadata["mask"] = "none";
    CHECK(verdict(file).ends_with(" pass\n"));
    file.metadata["mask"] = "right padding, lengths [16, 9]";
    CHECK(verdict(file) == "case: mask is 'right padding, lengths [16, 9]', expected none, fail\n");
  }
}

TEST_CASE("summaries of logsparse in a golden file are compared") {
  if (!device().is_cpu()) return;
  const SafetensorsFile good = with_level_summaries(file_here("combiner_logsparse_causal"));
  CHECK(verdict(good).ends_with(" pass\n"));
  for (const char* name : {"mid.q_span", "mid.k_span", "mid.v_span"}) {
    SafetensorsFile file = good;
    file.tensors[name] = moved_at(file.tensors[name], 7, 1e-3);
    CHECK(verdict(file).ends_with(" fail\n"));
    file.tensors[name] = good.tensors.at(name).slice(2, 1, 36).contiguous();
    CHECK(verdict(file) == cat("case: ", name, " is [2, 2, 35, 8], expected [2, 2, 36, 8], fail\n"));
  }
}

TEST_CASE("choices that float32 cannot make are compared in float64 only") {
  if (!device().is_cpu()) return;
  const std::string left_out = " choices compared in float64 only: their margin is below float32's rounding,";
  const auto leaves_out = [&](const SafetensorsFile& file) { return verdict(file).ends_with(left_out + " pass\n"); };
  SafetensorsFile file = file_here("fsat_module_bias");
  CHECK(verdict(file).find("choices") == std::string::npos);
  file.metadata["margin_col"] = "1e-12";  // said, and not so: the scores differ by more
  CHECK(leaves_out(file));
  file.metadata["margin_col"] = "small";
  CHECK(verdict(file) == "case: margin_col is 'small', expected a number, fail\n");
  file = nearly_tied(file_here("fsat_module_bias"));  // so, and not said
  CHECK(leaves_out(file));
  file.metadata.erase("margin_col");
  CHECK(leaves_out(file));
  file.tensors["cols"] = moved_at(file.tensors["cols"], 6, 1e12);
  CHECK(verdict(file).ends_with(left_out + " fail\n"));

  SafetensorsFile given = file_here("fsat_topk_ties");  // ties of numbers that float32 holds: the lower index wins
  CHECK(verdict(given).find("choices") == std::string::npos);
  Tensor keys = given.tensors["lag_key"].contiguous().clone();
  for (Index i = 0; i < keys.size(); ++i) keys.data<double>()[i] -= 1e-12 * static_cast<double>(i);
  given.tensors["lag_key"] = keys;
  CHECK(leaves_out(given));
}

TEST_CASE("a golden file's links are those of its protocol, whatever their step and however far they go round") {
  if (!device().is_cpu()) return;
  const auto moved = [](const char* name, Index link, Index by) {  // all products of the file, one link of each
    SafetensorsFile file = file_here(name);
    Tensor offsets = file.tensors["offsets"].contiguous().clone();
    const Index links = offsets.dim(-1);
    for (Index at = link; at < offsets.size(); at += links) offsets.data<Index>()[at] += by;
    file.tensors["offsets"] = offsets;
    return verdict(file);
  };
  CHECK(moved("paramixer_matmul_chord", 4, -16).ends_with(" pass\n"));  // of 16 positions
  CHECK(moved("paramixer_matmul_cdil", 8, 64).ends_with(" pass\n"));    // of 32
  CHECK(moved("paramixer_matmul_chord", 4, 1) ==
        "case: protocol is 'chord', which has no links with offsets 0 1 2 4 9, fail\n");
  CHECK(moved("paramixer_matmul_cdil", 8, 1).find("protocol is 'cdil', which has no links with offsets") !=
        std::string::npos);
  SafetensorsFile butterfly = butterfly_case();
  butterfly.tensors["offsets"] = tensor<Index>({0, 3}, {2});
  CHECK(verdict(butterfly) == "case: protocol is 'butterfly', which has no links with offsets 0 3, fail\n");
}

TEST_CASE("golden files of an unknown kind are not understood") {
  SafetensorsFile file;
  CHECK_THROWS_WITH_AS(kind_of(GoldenFile(file)), "the metadata names no mechanism", Error);
  file.metadata["mechanism"] = "softmax";
  CHECK_THROWS_WITH_AS(kind_of(GoldenFile(file)), "the metadata names no kind", Error);
  file.metadata["kind"] = "magic";
  CHECK_THROWS_WITH_AS(kind_of(GoldenFile(file)), "no check understands kind magic of softmax", Error);
}

}  // namespace subquad::test
