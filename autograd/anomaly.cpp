// DetectAnomaly and ModuleScope: who made the first NaN?
#include <cmath>
#include <utility>

#include "subquad/autograd/backward.h"
#include "subquad/autograd/node.h"
#include "subquad/core/check.h"
#include "subquad/core/profile.h"

namespace subquad {
namespace {

thread_local bool anomaly_mode = false;
thread_local std::string path;

// Row-major position of the first element that is not finite, -1 when all are.
Index first_bad(const Tensor& t, bool negative_infinity_is_fine) {
  if (!t.defined() || (t.dtype() != kFloat32 && t.dtype() != kFloat64)) return -1;
  const Tensor whole = t.to(kCpu).contiguous();
  return visit_float("detect_anomaly", t.dtype(), [&]<class T>(Type<T>) -> Index {
    const T* values = whole.data<T>();
    for (Index i = 0; i < whole.size(); ++i) {
      if (std::isfinite(values[i]) || (negative_infinity_is_fine && std::isinf(values[i]) && values[i] < 0)) continue;
      return i;
    }
    return -1;
  });
}

std::string element(const Tensor& t, Index i) {
  const Tensor whole = t.to(kCpu).to(kFloat64).contiguous();
  const double value = whole.data<double>()[i];
  const std::string text = std::isnan(value) ? "nan" : cat(value);  // a NaN's sign says nothing
  return cat(text, " at element ", i, " of ", describe(t));
}

}  // namespace

DetectAnomaly::DetectAnomaly() : before_(std::exchange(anomaly_mode, true)) {}
DetectAnomaly::~DetectAnomaly() {
  anomaly_mode = before_;
}

ModuleScope::ModuleScope(const std::string& name) : length_before_(path.size()) {
  if (!path.empty() && !name.empty()) path += '.';
  path += name;
  set_profile_module(&path);
}
ModuleScope::~ModuleScope() {
  path.resize(length_before_);
}

const std::string& module_path() {
  return path;
}

bool detecting_anomaly() {
  return anomaly_mode;
}

void check_forward(const char* op, const std::vector<Tensor>& outs, const std::vector<Variable>& inputs) {
  if (!anomaly_mode) return;
  const std::string title = path.empty() ? std::string(op) : cat(op, " in ", path);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    if (const Index bad = first_bad(inputs[i].value(), true); bad >= 0)
      throw Error(cat("detect_anomaly: ", title, " was given ", element(inputs[i].value(), bad), " as input ", i));
  }
  for (const Tensor& out : outs)
    if (const Index bad = first_bad(out, true); bad >= 0)
      throw Error(cat("detect_anomaly: ", title, " made ", element(out, bad), " from finite inputs"));
}

void check_gradient(const Node& node, int input, const Tensor& gradient, std::span<const Tensor> upstream) {
  if (!anomaly_mode) return;
  const Index bad = first_bad(gradient, false);
  if (bad < 0) return;
  for (const Tensor& dout : upstream)
    if (const Index given = first_bad(dout, false); given >= 0)
      throw Error(cat("detect_anomaly: backward of ", node.title(), " was given ", element(dout, given)));
  throw Error(cat("detect_anomaly: backward of ", node.title(), " made ", element(gradient, bad),
                  " as the gradient of input ", input));
}

}  // namespace subquad
