// A golden file as its check reads it: tensors and metadata by name, strictly. What is missing, not understood, or
// contradicts the rest of the file is an Error that names it. What nobody read is an error at the end.
#pragma once

#include <initializer_list>
#include <limits>
#include <set>
#include <string>

#include "subquad/core/mask.h"
#include "subquad/core/safetensors.h"

namespace subquad::test {

class GoldenFile {
 public:
  explicit GoldenFile(SafetensorsFile file) : file_(std::move(file)) {}

  const std::map<std::string, Tensor>& tensors() const { return file_.tensors; }
  bool has(const std::string& name) const { return file_.tensors.contains(name); }
  const Tensor& tensor(const std::string& name) const;  // counts as read from its first call

  // With its dimensions, each by the key under which metadata may name the size, "" for none. ShapeError unless the
  // rank and every size that metadata name are the tensor's.
  const Tensor& tensor(const std::string& name, std::initializer_list<std::string> sizes) const;
  Tensor input(const std::string& name, DType dtype) const;  // on device()

  // The tensor `lengths`, int64 [B], which metadata may repeat ("33 20 1").
  const Tensor& lengths() const;
  // `in.mask` [B, N], 1 = real, 0 = padded; undefined without one. Metadata's `mask` is "none ..." only where all
  // positions are real.
  Mask mask() const;
  void no_mask() const;  // Error unless metadata's `mask`, which need not be there, is "none ..."

  // A key counts as read from its first call here. The second form is for keys that a file need not have.
  bool says(const std::string& key) const { return file_.metadata.contains(key); }
  const std::string& option(const std::string& key) const;
  std::string option(const std::string& key, const std::string& otherwise) const;
  Index number(const std::string& key, Index least, Index most = std::numeric_limits<Index>::max()) const;
  double real(const std::string& key) const;  // finite
  bool truth(const std::string& key) const;   // 0, 1, false, true
  bool truth(const std::string& key, bool otherwise) const { return says(key) ? truth(key) : otherwise; }
  void expect(const std::string& key, const std::string& value) const;
  void allow(const std::string& key, const std::string& value) const;  // expect(), but the file need not have the key

  // The number under a key, which must be how many tensors <before>0<after>, <before>1<after>, ... there are.
  Index count(const std::string& key, const std::string& before, const std::string& after) const;

  // Error that names the metadata, descriptions aside, or the tensor which no call has read. Metadata's
  // `unused_parameters` ("a.weight,b.weight" or "none") may name parameters that stay unread, with gradients of 0 if
  // any.
  void check_all_read() const;

 private:
  std::set<std::string> unused_parameters() const;

  SafetensorsFile file_;
  mutable std::set<std::string> read_, read_tensors_;
};

// The largest max |got - want| / max(1, max |want|) of a file's results and of its gradients; NaN when anything is NaN.
struct GoldenErrors {
  double results = 0;
  double gradients = 0;
  std::string left_out;  // what was not compared, and why; "" = nothing

  // ShapeError that names the tensor when the file's `want` has another shape than `got`.
  void result(const std::string& name, const Tensor& got, const Tensor& want);
  void gradient(const std::string& name, const Tensor& got, const Tensor& want);
  // Of the file's tensor of that name.
  void result(const GoldenFile& file, const std::string& name, const Tensor& got) {
    result(name, got, file.tensor(name));
  }
  void gradient(const GoldenFile& file, const std::string& name, const Tensor& got) {
    gradient(name, got, file.tensor(name));
  }
  // Up to each sample's length along `dim`: results at padded positions are nobody's business.
  void real_rows(const GoldenFile& file, const std::string& name, const Tensor& got, int dim);

  void include(const GoldenErrors& other);
};

}  // namespace subquad::test
