#include "subquad/tests/golden/golden_file.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include "subquad/tests/support/compare.h"

namespace subquad::test {
namespace {

// Metadata that say where a case comes from, or in words what its kind and tensors say. No check needs to read them.
struct Description {
  std::string key;
  std::string mechanism;  // "" = all
};
const Description kDescriptions[] = {
    {"case", ""},
    {"seed", ""},
    {"source", ""},
    {"margin_col", "fsat"},  // how clear a choice is; modules read them
    {"margin_lag", "fsat"},
    {"levels", "fsat"},  // how the generator drew keys and empty slots
    {"empty", "fsat"},
    {"mask", "nystromformer"},
    {"matrix", "nystromformer"},
    {"init_embedding", "paramixer"},
    {"loss", "paramixer"},
    {"note", "paramixer"},
    {"problem", "paramixer"},
    {"spmm", "paramixer"},
};

// All of `text` as a number.
template <class T>
bool parse(const std::string& text, T& value) {
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  return error == std::errc() && end == last;
}

double worse(double a, double b) {
  return a > b || std::isnan(a) ? a : b;
}

double error_of(const std::string& name, const Tensor& got, const Tensor& want) {
  if (got.shape() != want.shape()) throw ShapeError(cat(name, " is ", want.shape(), ", expected ", got.shape()));
  return largest_error(got, want);
}

}  // namespace

const Tensor& GoldenFile::tensor(const std::string& name) const {
  const auto found = file_.tensors.find(name);
  if (found == file_.tensors.end()) throw Error(cat("the file has no tensor ", name));
  read_tensors_.insert(name);
  return found->second;
}

const Tensor& GoldenFile::tensor(const std::string& name, std::initializer_list<std::string> sizes) const {
  const Tensor& found = tensor(name);
  if (found.rank() != static_cast<int>(sizes.size()))
    throw ShapeError(cat(name, " is ", found.shape(), ", expected ", sizes.size(), " dimensions"));
  int dim = 0;
  for (const std::string& key : sizes) {
    const Index size = found.dim(dim++);
    if (!key.empty() && says(key) && number(key, 0) != size)
      throw ShapeError(cat(key, " is ", option(key), ", but ", name, " is ", found.shape()));
  }
  return found;
}

Tensor GoldenFile::input(const std::string& name, DType dtype) const {
  return here(tensor(name).to(dtype));
}

const Tensor& GoldenFile::lengths() const {
  const Tensor& lengths = tensor("lengths", {"batch"});
  std::ostringstream text;
  for (const Index length : lengths.span<Index>()) text << (text.tellp() > 0 ? " " : "") << length;
  allow("lengths", text.str());
  return lengths;
}

Mask GoldenFile::mask() const {
  const bool none = option("mask", "none").starts_with("none");
  if (!has("in.mask")) {
    if (!none) throw Error(cat("mask is '", option("mask"), "', but the file has no in.mask"));
    return {};
  }
  const Tensor& given = tensor("in.mask", {"batch", "seq_len"});
  for (Index i = 0; i < given.size(); ++i)
    if (at(given, i) != 0 && at(given, i) != 1) throw Error(cat("in.mask holds ", at(given, i), ", expected 0 or 1"));
  Mask mask = Mask::from_bool(given.to(kBool));
  if (says("mask") && none)
    for (const bool real : mask.real.span<bool>())
      if (!real) throw Error(cat("mask is '", option("mask"), "', but in.mask has zeros"));
  return mask;
}

void GoldenFile::no_mask() const {
  if (!option("mask", "none").starts_with("none")) throw Error(cat("mask is '", option("mask"), "', expected none"));
}

const std::string& GoldenFile::option(const std::string& key) const {
  const auto found = file_.metadata.find(key);
  if (found == file_.metadata.end()) throw Error(cat("the metadata names no ", key));
  read_.insert(key);
  return found->second;
}

std::string GoldenFile::option(const std::string& key, const std::string& otherwise) const {
  return says(key) ? option(key) : otherwise;
}

Index GoldenFile::number(const std::string& key, Index least, Index most) const {
  Index value = 0;
  if (!parse(option(key), value) || value < least || value > most)
    throw Error(cat(key, " is '", option(key), "', expected a whole number of at least ", least,
                    most < std::numeric_limits<Index>::max() ? cat(" and at most ", most) : ""));
  return value;
}

double GoldenFile::real(const std::string& key) const {
  double value = 0;
  if (!parse(option(key), value) || !std::isfinite(value))
    throw Error(cat(key, " is '", option(key), "', expected a number"));
  return value;
}

bool GoldenFile::truth(const std::string& key) const {
  const std::string& text = option(key);
  if (text == "1" || text == "true") return true;
  if (text == "0" || text == "false") return false;
  throw Error(cat(key, " is '", text, "', expected 0, 1, false or true"));
}

void GoldenFile::expect(const std::string& key, const std::string& value) const {
  if (option(key) != value) throw Error(cat(key, " is '", option(key), "', expected '", value, "'"));
}

void GoldenFile::allow(const std::string& key, const std::string& value) const {
  if (says(key)) expect(key, value);
}

Index GoldenFile::count(const std::string& key, const std::string& before, const std::string& after) const {
  Index there = 0;
  while (has(cat(before, there, after))) ++there;
  if (number(key, 1) != there)
    throw Error(cat(key, " is ", option(key), ", but the file has ", there, " tensors ", before, "*", after));
  return there;
}

std::set<std::string> GoldenFile::unused_parameters() const {
  std::set<std::string> names;
  std::istringstream list(option("unused_parameters", "none"));
  for (std::string name; std::getline(list, name, ',');)
    if (name != "none") names.insert(name);
  for (const std::string& name : names) {
    if (read_tensors_.contains("param." + name))
      throw Error(cat("unused_parameters names ", name, ", but the check uses param.", name));
    if (!has("grad.param." + name)) continue;
    const Tensor& gradient = tensor("grad.param." + name);
    for (Index i = 0; i < gradient.size(); ++i)
      if (at(gradient, i) != 0)
        throw Error(cat("unused_parameters names ", name, ", but grad.param.", name, " is not 0"));
  }
  return names;
}

void GoldenFile::check_all_read() const {
  const std::set<std::string> unused = unused_parameters();
  const auto describes = [&](const std::string& key) {
    for (const Description& known : kDescriptions)
      if (key == known.key && (known.mechanism.empty() || known.mechanism == option("mechanism"))) return true;
    return false;
  };
  for (const auto& [key, value] : file_.metadata)
    if (!read_.contains(key) && !describes(key))
      throw Error(cat("the check has no use for ", key, " = '", value, "' in the metadata"));
  for (const auto& [name, value] : file_.tensors)
    if (!read_tensors_.contains(name) && !(name.starts_with("param.") && unused.contains(name.substr(6))))
      throw Error(cat("the check has no use for the tensor ", name));
}

void GoldenErrors::result(const std::string& name, const Tensor& got, const Tensor& want) {
  results = worse(results, error_of(name, got, want));
}

void GoldenErrors::gradient(const std::string& name, const Tensor& got, const Tensor& want) {
  gradients = worse(gradients, error_of(name, got, want));
}

void GoldenErrors::real_rows(const GoldenFile& file, const std::string& name, const Tensor& got, int dim) {
  const Tensor &want = file.tensor(name), &lengths = file.lengths();
  if (got.shape() != want.shape()) throw ShapeError(cat(name, " is ", want.shape(), ", expected ", got.shape()));
  for (Index b = 0; b < lengths.dim(0); ++b) {
    const auto cut = [&](const Tensor& t) { return t.slice(0, b, b + 1).slice(dim, 0, lengths.data<Index>()[b]); };
    result(name, cut(got), cut(want));
  }
}

void GoldenErrors::include(const GoldenErrors& other) {
  results = worse(results, other.results);
  gradients = worse(gradients, other.gradients);
  if (!other.left_out.empty()) left_out = other.left_out;
}

}  // namespace subquad::test
