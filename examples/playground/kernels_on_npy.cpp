// Kernels without modules or gradients: attention of q, k, v in NumPy files, [N, E] or [B, H, N, E].
//
//   kernels_on_npy q.npy k.npy v.npy out.npy                  softmax(q k^T / sqrt(E)) v, the N x N matrix never stored
//   kernels_on_npy q.npy k.npy v.npy out.npy --landmarks 16   Nystrom's, and how far from the exact one it is
#include <cmath>
#include <iostream>

#include "subquad/core/check.h"
#include "subquad/core/npy.h"
#include "subquad/examples/lra/options.h"
#include "subquad/examples/lra/program.h"
#include "subquad/kernels/attention/attention.h"
#include "subquad/kernels/elementwise/elementwise.h"
#include "subquad/kernels/matmul/matmul.h"
#include "subquad/kernels/pinv/pinv.h"
#include "subquad/kernels/reduce/reduce.h"
#include "subquad/kernels/segment_mean/segment_mean.h"
#include "subquad/kernels/softmax/softmax.h"

using namespace subquad;

bool finite(const Tensor& x) {
  return kernels::sum(kernels::mul_scalar(x.to(kFloat64), 0)).item<double>() == 0;  // infinity times 0 is NaN, too
}

Tensor read_heads(const std::string& path) {
  const Tensor x = read_npy(path);
  if ((x.rank() != 2 && x.rank() != 4) || x.dim(-1) < 1 || (x.dtype() != kFloat32 && x.dtype() != kFloat64))
    throw FormatError(cat(path, ": ", describe(x), ", expected [N, E] or [B, H, N, E], float32 or float64"));
  if (!finite(x)) throw FormatError(cat(path, ": there is a number that is not finite"));
  return x.rank() == 4 ? x : x.unsqueeze(0).unsqueeze(0);
}

void expect(const std::string& path, const Tensor& x, const Shape& shape, DType dtype) {
  if (x.shape() != shape || x.dtype() != dtype)
    throw FormatError(cat(path, " as [B, H, N, E]: ", describe(x), ", expected ", shape, ' ', dtype));
}

// F pinv(A) (S v): n keys are seen through m means of them (Xiong et al. 2021, equation 13).
Tensor nystrom(const Tensor& q, const Tensor& k, const Tensor& v, Index landmarks) {
  const Tensor cut = kernels::even_segments(q.dim(0), q.dim(2), landmarks, q.device());
  const Tensor q_means = kernels::segment_mean(q, cut), k_means = kernels::segment_mean(k, cut);  // [B, H, m, E]
  const Tensor logits = kernels::matmul(q_means, k_means.transpose(2, 3));                        // [B, H, m, m]
  const Tensor a = kernels::softmax(kernels::mul_scalar(logits, 1 / std::sqrt(static_cast<double>(q.dim(3)))));
  const Tensor gathered = kernels::attention(q_means, k, v).out;  // S v
  return kernels::attention(q, k_means, kernels::matmul(kernels::pinv(a).out, gathered)).out;
}

double norm(const Tensor& x) {
  return std::sqrt(kernels::sum(kernels::square(x.to(kFloat64))).item<double>());
}

int run(const std::vector<std::string>& args) {
  CLI::App app("Attention of arrays in NumPy files", "kernels_on_npy");
  std::vector<std::string> files;
  Index landmarks = 0;
  app.add_option("files", files, "q.npy k.npy v.npy out.npy")->required()->expected(4);
  lra::add_whole(app, "--landmarks", landmarks, 0, lra::kMostPositions, "Nystrom's with so many; 0: exact");
  if (!lra::parse_options(app, args)) return 0;
  const Tensor q = read_heads(files[0]), k = read_heads(files[1]), v = read_heads(files[2]);
  const Index n = q.dim(2), keys = landmarks > 0 ? n : k.dim(2);  // landmarks of both are cut alike
  if (landmarks > n) throw lra::OptionError(cat("--landmarks ", landmarks, ": there are ", n, " positions"));
  expect(files[1], k, {q.dim(0), q.dim(1), keys, q.dim(3)}, q.dtype());
  expect(files[2], v, {q.dim(0), q.dim(1), keys, v.dim(3)}, q.dtype());
  const Tensor exact = kernels::attention(q, k, v).out;
  Tensor out = landmarks > 0 ? nystrom(q, k, v, landmarks) : exact;
  if (!finite(exact) || !finite(out)) throw Error(cat(files[3], ": q and k are too large for a finite result"));
  if (landmarks > 0) {
    const double off = norm(kernels::sub(out, exact));  // 0 where all is 0, and nothing to divide by
    std::cout << "relative error against the exact one: " << (off > 0 ? off / norm(exact) : 0) << "\n";
  }
  if (read_npy(files[0]).rank() == 2) out = out.select(0, 0).select(0, 0);
  write_npy(files[3], out);
  std::cout << files[3] << ": " << describe(out) << "\n";
  return 0;
}

int main(int argc, char** argv) {
  return lra::run_program("kernels_on_npy", argc, argv, run);
}
