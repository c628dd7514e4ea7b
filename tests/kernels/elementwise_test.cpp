#include "subquad/kernels/elementwise/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "subquad/tests/support/compare.h"
#include "subquad/tests/support/threads.h"

namespace subquad {
namespace {

using namespace subquad::test;

// The slow loops.
Tensor slow(const Tensor& x, double (*f)(double)) {
  Tensor out = doubles(x).clone();
  for (double& v : out.span<double>()) v = f(v);
  return out;
}
Tensor slow(const Tensor& a, const Tensor& b, const Shape& shape, double (*f)(double, double)) {
  const Tensor u = doubles(a.expand(shape)), v = doubles(b.expand(shape));
  Tensor out = zeros(shape, kFloat64, kCpu);
  for (Index i = 0; i < out.size(); ++i) out.data<double>()[i] = f(u.data<double>()[i], v.data<double>()[i]);
  return out;
}

struct UnaryCase {
  const char* name;
  Tensor (*kernel)(const Tensor&);
  double (*formula)(double);
  double low, high;  // where the inputs lie
};
const UnaryCase kUnaryCases[] = {
    {"neg", kernels::neg, [](double x) { return -x; }, -3, 3},
    {"exp", kernels::exp, [](double x) { return std::exp(x); }, -3, 3},
    {"log", kernels::log, [](double x) { return std::log(x); }, 0.1, 9},
    {"sqrt", kernels::sqrt, [](double x) { return std::sqrt(x); }, 0, 9},
    {"rsqrt", kernels::rsqrt, [](double x) { return 1 / std::sqrt(x); }, 0.1, 9},
    {"tanh", kernels::tanh, [](double x) { return std::tanh(x); }, -3, 3},
    {"sigmoid", kernels::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -9, 9},
    {"relu", kernels::relu, [](double x) { return x > 0 ? x : 0; }, -3, 3},
    {"gelu", kernels::gelu, [](double x) { return x * (1 + std::erf(x / std::sqrt(2.0))) / 2; }, -6, 6},
    {"abs", kernels::abs, [](double x) { return std::fabs(x); }, -3, 3},
    {"sign", kernels::sign, [](double x) { return x > 0   ? 1.0
                                                  : x < 0 ? -1.0
                                                          : 0.0; }, -3, 3},
    {"square", kernels::square, [](double x) { return x * x; }, -3, 3},
    {"reciprocal", kernels::reciprocal, [](double x) { return 1 / x; }, 0.1, 9},
    {"add_scalar", [](const Tensor& x) { return kernels::add_scalar(x, -1.5); }, [](double x) { return x - 1.5; }, -3,
     3},
    {"mul_scalar", [](const Tensor& x) { return kernels::mul_scalar(x, 0.75); }, [](double x) { return x * 0.75; }, -3,
     3},
    {"pow_scalar", [](const Tensor& x) { return kernels::pow_scalar(x, 2.5); },
     [](double x) { return std::pow(x, 2.5); }, 0, 4},
};

struct BinaryCase {
  const char* name;
  Tensor (*kernel)(const Tensor&, const Tensor&);
  double (*formula)(double, double);
};
const BinaryCase kBinaryCases[] = {
    {"add", kernels::add, [](double a, double b) { return a + b; }},
    {"sub", kernels::sub, [](double a, double b) { return a - b; }},
    {"mul", kernels::mul, [](double a, double b) { return a * b; }},
    {"div", kernels::div, [](double a, double b) { return a / b; }},
    {"maximum", kernels::maximum, [](double a, double b) { return a > b ? a : b; }},
    {"minimum", kernels::minimum, [](double a, double b) { return a < b ? a : b; }},
    {"equal", kernels::equal, [](double a, double b) { return double(a == b); }},
    {"not_equal", kernels::not_equal, [](double a, double b) { return double(a != b); }},
    {"less", kernels::less, [](double a, double b) { return double(a < b); }},
    {"less_equal", kernels::less_equal, [](double a, double b) { return double(a <= b); }},
    {"greater", kernels::greater, [](double a, double b) { return double(a > b); }},
    {"greater_equal", kernels::greater_equal, [](double a, double b) { return double(a >= b); }},
};

// Two shapes and what broadcasting makes of them. Large ones span several chunks of the parallel loop, or several
// blocks of threads.
struct Pair {
  Shape a, b, out;
};
std::vector<Pair> pairs() {
  const Index rows = interpreted() ? 3 : 70, many = interpreted() ? 3'003 : 100'003;
  return {
      {{}, {}, {}},
      {{1}, {1}, {1}},
      {{0}, {0}, {0}},
      {{0, 3}, {3}, {0, 3}},
      {{2, 0, 5}, {1, 5}, {2, 0, 5}},
      {{7}, {7}, {7}},
      {{7}, {}, {7}},
      {{}, {7}, {7}},
      {{2, 3, 5}, {5}, {2, 3, 5}},
      {{2, 3, 5}, {3, 1}, {2, 3, 5}},
      {{2, 3, 5}, {2, 1, 5}, {2, 3, 5}},
      {{5}, {2, 3, 5}, {2, 3, 5}},
      {{2, 1, 5}, {1, 3, 1}, {2, 3, 5}},
      {{13, 1, 17, 1}, {11, 1, 19}, {13, 11, 17, 19}},
      {{3, 8, 1}, {1, 8, 4}, {3, 8, 4}},
      {{rows, 1031}, {1031}, {rows, 1031}},
      {{rows, 1031}, {rows, 1}, {rows, 1031}},
      {{many}, {many}, {many}},
  };
}

// Numbers on a coarse grid without 0, so that comparisons meet equal ones and divisions are safe.
Tensor grid(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor out = uniform(shape, kFloat64, -4, 4, seed).to(kCpu);
  for (double& v : out.span<double>()) v = std::floor(v) + 0.5;
  return here(out.to(dtype));
}

}  // namespace

TEST_CASE("elementwise: functions of one operand equal the slow loop") {
  for_each_float([](DType dtype) {
    for (const UnaryCase& c : kUnaryCases)
      for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{17}, Shape{3, 0, 2}, Shape{5, 7, 3},
                                 Shape{interpreted() ? 3'011 : 20'011}}) {
        CAPTURE(c.name);
        CAPTURE(shape);
        const Tensor x = uniform(shape, dtype, c.low, c.high, 1);
        const Tensor want = slow(x, c.formula);
        for_each_simd_target([&] {
          const Tensor got = c.kernel(x);
          CHECK_EQ(got.dtype(), dtype);
          CHECK_CLOSE(got, want, pointwise_tolerance(dtype));
        });
      }
  });
}

TEST_CASE("elementwise: functions of one operand read any strides") {
  for_each_float([](DType dtype) {
    for (const UnaryCase& c : kUnaryCases) {
      CAPTURE(c.name);
      const Tensor x = uniform({22, 13, 10}, dtype, c.low, c.high, 2);
      for (const Tensor& view : {x.transpose(0, 2), x.slice(2, 1, 10, 3), x.select(1, 2), x.permute({1, 2, 0}),
                                 x.slice(1, 2, 3).expand({22, 9, 10}), x.slice(2, 4, 5).expand({22, 13, 4}),
                                 x.reshape({x.size()}).slice(0, 1, 2000)}) {  // the last is not aligned to 16 bytes
        CAPTURE(view.strides());
        CHECK(c.kernel(view).is_contiguous());
        CHECK_CLOSE(c.kernel(view), slow(view, c.formula), pointwise_tolerance(dtype));
      }
    }
  });
}

TEST_CASE("elementwise: functions of two operands broadcast like the slow loop") {
  for_each_float([](DType dtype) {
    for (const BinaryCase& c : kBinaryCases)
      for (const Pair& p : pairs()) {
        CAPTURE(c.name);
        CAPTURE(p.a);
        CAPTURE(p.b);
        const Tensor a = grid(p.a, dtype, 3), b = grid(p.b, dtype, 4);
        CHECK_CLOSE(c.kernel(a, b), slow(a, b, p.out, c.formula), pointwise_tolerance(dtype));
      }
  });
}

TEST_CASE("elementwise: functions of two operands read any strides") {
  for_each_float([](DType dtype) {
    for (const BinaryCase& c : kBinaryCases) {
      CAPTURE(c.name);
      const Tensor a = grid({6, 5, 4}, dtype, 5), b = grid({4, 10, 6}, dtype, 6);
      const Shape shape = {6, 5, 4};
      CHECK_CLOSE(c.kernel(a, b.slice(1, 1, 10, 2).transpose(0, 2)),
                  slow(a, b.slice(1, 1, 10, 2).transpose(0, 2), shape, c.formula), pointwise_tolerance(dtype));
      CHECK_CLOSE(c.kernel(b.select(1, 3).transpose(0, 1).unsqueeze(1), a),
                  slow(b.select(1, 3).transpose(0, 1).unsqueeze(1), a, shape, c.formula), pointwise_tolerance(dtype));
    }
  });
}

TEST_CASE("elementwise: comparisons take int64 and give bool") {
  const Tensor a = here(tensor<Index>({1, 2, 3, Index{1} << 60}, {4})),
               b = here(tensor<Index>({3, 2, 1, (Index{1} << 60) + 1}, {4}));
  CHECK(same_bits(kernels::equal(a, b), tensor<bool>({false, true, false, false}, {4})));
  CHECK(same_bits(kernels::less(a, b), tensor<bool>({true, false, false, true}, {4})));
  CHECK(
      same_bits(kernels::greater_equal(a, here(tensor<Index>({2}, {}))), tensor<bool>({false, true, true, true}, {4})));
  for (const Index step : {1, 2}) {  // flat, and in steps
    const Tensor even = kernels::equal(arange(2999, kInt64, device()).slice(0, 0, 2999, step),
                                       full({2999}, 1000, kInt64, device()).slice(0, 0, 2999, step));
    for (const Tensor flags = even.to(kCpu); const Index i : {Index{0}, 1000 / step - 1, 1000 / step, 1000 / step + 1})
      CHECK_EQ(flags.data<bool>()[i], i * step == 1000);
  }
}

TEST_CASE("elementwise: where chooses, and ignores what it does not choose") {
  const Index rows = interpreted() ? 9 : 90;
  for (const DType dtype : {kFloat32, kFloat64, kInt64})
    for (const auto& [cond_shape, p] : {std::pair<Shape, Pair>{{3, 1}, {{3, 4}, {4}, {3, 4}}},
                                        {{5}, {{}, {2, 1}, {2, 5}}},
                                        {{}, {{3}, {3}, {3}}},
                                        {{0, 1}, {{1, 7}, {}, {0, 7}}},
                                        {{rows, 201}, {{rows, 1}, {201}, {rows, 201}}},
                                        {{2003}, {{2003}, {2003}, {2003}}}}) {
      CAPTURE(cond_shape);
      const Tensor cond = kernels::less(normal(cond_shape, kFloat64, 1), zeros({}, kFloat64, device()));
      const Tensor a = grid(p.a, dtype, 2), b = grid(p.b, dtype, 3);
      const Tensor c = doubles(cond.expand(p.out)), u = doubles(a.expand(p.out)), v = doubles(b.expand(p.out));
      Tensor want = zeros(p.out, kFloat64, kCpu);
      for (Index i = 0; i < want.size(); ++i) want.data<double>()[i] = at(c, i) != 0 ? at(u, i) : at(v, i);
      CHECK_CLOSE(kernels::where(cond, a, b), want, 0.0);
    }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor cond = here(tensor<bool>({true, false}, {2}));
  const Tensor left = here(tensor({1.0, nan}, {2})), right = here(tensor({nan, 2.0}, {2}));
  CHECK(same_bits(kernels::where(cond, left, right), tensor({1.0, 2.0}, {2})));
}

TEST_CASE("elementwise: NaN is passed on") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor a = here(tensor({nan, 1.0, nan}, {3})), b = here(tensor({1.0, nan, nan}, {3}));
  for (const Tensor& out :
       {kernels::maximum(a, b), kernels::minimum(a, b), kernels::maximum(b, a), kernels::minimum(b, a)})
    for (Index i = 0; i < 3; ++i) CHECK(std::isnan(at(out, i)));
  CHECK(std::isnan(at(kernels::relu(a), 0)));
  CHECK(same_bits(kernels::equal(a, a), tensor<bool>({false, true, false}, {3})));
  CHECK(same_bits(kernels::not_equal(a, a), tensor<bool>({true, false, true}, {3})));
}

TEST_CASE("elementwise: far from zero curves reach their limits, and a NaN stays one") {
  for_each_float([](DType dtype) {
    for_each_simd_target([&] {
      const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
      const auto values = [&](std::initializer_list<double> v) {
        return here(tensor<double>(v, {static_cast<Index>(v.size())}).to(dtype));
      };
      const Tensor x = values({-inf, -1e4, -800, -20, 20, 800, 1e4, inf});
      const double tiny = 1 / (1 + std::exp(20.0));
      CHECK_CLOSE(kernels::exp(x), values({0, 0, 0, std::exp(-20.0), std::exp(20.0), inf, inf, inf}),
                  pointwise_tolerance(dtype));
      CHECK_CLOSE(kernels::tanh(x), values({-1, -1, -1, -1, 1, 1, 1, 1}), pointwise_tolerance(dtype));
      CHECK_CLOSE(kernels::sigmoid(x), values({0, 0, 0, tiny, 1 - tiny, 1, 1, 1}), pointwise_tolerance(dtype));
      const Tensor finite = x.slice(0, 1, 7);
      CHECK_CLOSE(kernels::gelu(finite), values({0, 0, 0, 20, 800, 1e4}), pointwise_tolerance(dtype));
      CHECK_CLOSE(kernels::gelu_grad(full({6}, 1, dtype, device()), finite), values({0, 0, 0, 1, 1, 1}),
                  pointwise_tolerance(dtype));
      for (const auto curve : {kernels::exp, kernels::tanh, kernels::sigmoid, kernels::gelu})
        for (const Index count : {1, 16, 17})
          CHECK(std::isnan(at(curve(full({count}, nan, dtype, device())), count - 1)));
      for (const Index count : {1, 16, 17}) {
        const Tensor one = full({count}, 1, dtype, device()), x_nan = full({count}, nan, dtype, device());
        CHECK(std::isnan(at(kernels::gelu_grad(one, x_nan), count - 1)));
      }
    });
  });
}

TEST_CASE("elementwise: exp is good to a few last bits over its whole range") {
  for_each_float([](DType dtype) {
    const double top = dtype == kFloat32 ? 88.7 : 709.7;
    const Tensor x = uniform({4001}, dtype, -top + 2, top, 1);  // no denormal results
    const Tensor exponent = doubles(x);
    for_each_simd_target([&] {
      const Tensor got = doubles(kernels::exp(x));
      double worst = 0;
      for (Index i = 0; i < x.size(); ++i)
        worst = std::max(worst, std::fabs(at(got, i) / std::exp(at(exponent, i)) - 1));
      CHECK_LT(worst, pointwise_tolerance(dtype));
    });
  });
}

TEST_CASE("elementwise: gelu and its slope are good to a few last bits of 1 wherever they bend") {
  for_each_float([](DType dtype) {
    const Tensor x = uniform({4001}, dtype, -7, 7, 1);
    Tensor share = zeros(x.shape(), kFloat64, kCpu), slope = zeros(x.shape(), kFloat64, kCpu);
    for (Index i = 0; i < x.size(); ++i) {
      const double v = at(x, i), below = std::erfc(-v / std::sqrt(2.0)) / 2;
      share.data<double>()[i] = below;
      slope.data<double>()[i] = below + v * std::exp(-v * v / 2) / std::sqrt(2 * std::acos(-1.0));
    }
    for_each_simd_target([&] {
      const Tensor got = doubles(kernels::gelu(x));
      double worst = 0;
      for (Index i = 0; i < x.size(); ++i)
        worst = std::max(worst, std::abs(at(got, i) - at(x, i) * at(share, i)) / std::max(1.0, std::abs(at(x, i))));
      CHECK_LT(worst, pointwise_tolerance(dtype) / 2);
      CHECK_CLOSE(kernels::gelu_grad(full(x.shape(), 1, dtype, device()), x), slope, pointwise_tolerance(dtype) / 2);
    });
  });
}

TEST_CASE("elementwise: gradients of the activations") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{31, 7}, Shape{20'011}}) {
      const Tensor x = normal(shape, dtype, 1), dout = normal(shape, dtype, 2);
      const Tensor relu = slow(dout, x, shape, [](double d, double v) { return v > 0 ? d : 0.0; });
      const Tensor gelu = slow(dout, x, shape, [](double d, double v) {
        const double density = std::exp(-v * v / 2) / std::sqrt(2 * std::acos(-1.0));
        return d * ((1 + std::erf(v / std::sqrt(2.0))) / 2 + v * density);
      });
      CHECK_CLOSE(kernels::relu_grad(dout, x), relu, 0.0);
      for_each_simd_target([&] { CHECK_CLOSE(kernels::gelu_grad(dout, x), gelu, pointwise_tolerance(dtype)); });
    }
    const Tensor x = normal({41, 33}, dtype, 3), dout = normal({41, 33}, dtype, 4), gelu = kernels::gelu_grad(dout, x);
    CHECK_CLOSE(kernels::gelu_grad(dout.transpose(0, 1), x.transpose(0, 1)), gelu.transpose(0, 1),
                pointwise_tolerance(dtype));
  });
}

TEST_CASE("elementwise: in place, through any view, and counted as a write") {
  for_each_float([](DType dtype) {
    for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{2, 0, 3}, Shape{5}, Shape{7, 6}, Shape{211, 307}}) {
      CAPTURE(shape);
      const Tensor start = normal(shape, dtype, 1), x = normal(shape, dtype, 2);
      Tensor out = start.clone();
      const std::uint32_t version = out.version();
      kernels::add_into(out, x);
      CHECK(same_bits(out, kernels::add(start, x)));
      kernels::scale_into(out, -0.5);
      CHECK(same_bits(out, kernels::mul_scalar(kernels::add(start, x), -0.5)));
      kernels::axpy_into(out, 3.0, x);
      CHECK_EQ(out.version(), version + 3);
      CHECK_CLOSE(out, slow(start, x, shape, [](double s, double v) { return 2.5 * v - 0.5 * s; }),
                  pointwise_tolerance(dtype));
    }
    Tensor whole = zeros({62, 90}, dtype, device());
    Tensor part = whole.slice(0, 1, 62, 2).slice(1, 2, 41).transpose(0, 1);  // [39, 31]
    const Tensor x = normal({39, 31}, dtype, 3);
    kernels::add_into(part, x);
    kernels::add_into(part, part);
    kernels::scale_into(part, 0.25);
    const Tensor values = doubles(whole), added = doubles(x);
    for (Index i = 0; i < 62; ++i)
      for (Index j = 0; j < 90; ++j) {
        const bool inside = i % 2 == 1 && j >= 2 && j < 41;
        CHECK_EQ(at(values, {i, j}), inside ? at(added, {j - 2, i / 2}) / 2 : 0.0);
      }
  });
}

TEST_CASE("elementwise: the same bits for any number of threads") {
  const Index rows = interpreted() ? 9 : 200;  // more additions than parallel_for does on one thread
  for_each_float([rows](DType dtype) {
    const Tensor a = normal({rows, 1031}, dtype, 1), b = normal({1031}, dtype, 2), c = normal({1031, rows}, dtype, 3);
    const Tensor turned = c.transpose(0, 1), flags = kernels::less(a, turned), ints = grid(a.shape(), kInt64, 4);
    CHECK(same_for_any_thread_count([&] {
      Tensor whole = c.clone();
      Tensor part = whole.transpose(0, 1).slice(1, 0, 1031, 2);
      kernels::scale_into(part, 0.5);
      kernels::axpy_into(part, -3.0, a.slice(1, 0, 1031, 2));
      return std::vector<Tensor>{kernels::add(a, b),
                                 kernels::gelu(a),
                                 kernels::gelu_grad(a, turned),
                                 kernels::where(flags, a, a),
                                 kernels::where(flags, ints, ints),
                                 kernels::less(ints, ints.slice(0, 0, 1)),
                                 whole};
    }));
  });
}

TEST_CASE("elementwise: operands lie on one device") {
  if (device().is_cpu()) return;
  const Tensor a = zeros({2}, kFloat32, device()), flags = zeros({2}, kBool, kCpu);
  Tensor out = a.clone();
  CHECK_THROWS_WITH_AS(kernels::where(flags, a, a),
                       cat("where: cond is [2] bool cpu, expected on ", device(), " like a").c_str(), DeviceError);
  CHECK_THROWS_AS(kernels::add(a, a.to(kCpu)), DeviceError);
  CHECK_THROWS_AS(kernels::add_into(out, a.to(kCpu)), DeviceError);
}

TEST_SUITE("cpu") {  // the door is the same on every device
  TEST_CASE("elementwise: complaints name the op, the argument and what was expected") {
    const Tensor f32 = zeros({2, 3}, kFloat32, kCpu), f64 = zeros({2, 3}, kFloat64, kCpu);
    const Tensor ints = zeros({2, 3}, kInt32, kCpu), other = zeros({4}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::exp(ints), "exp: x is [2, 3] int32 cpu, expected float32 or float64", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::add(f32, f64), "add: b is [2, 3] float64 cpu, expected float32 like a", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::less(ints, ints), "less: a is [2, 3] int32 cpu, expected float32, float64 or int64",
                         DTypeError);
    CHECK_THROWS_AS(kernels::add(f32, other), ShapeError);
    CHECK_THROWS_WITH_AS(kernels::mul(Tensor(), f32), "mul: a is undefined", Error);
    CHECK_THROWS_WITH_AS(kernels::where(f32, f32, f32), "where: cond is [2, 3] float32 cpu, expected bool", DTypeError);
    CHECK_THROWS_WITH_AS(kernels::relu_grad(other, f32), "relu_grad: dout is [4] float32 cpu, expected shape [2, 3]",
                         ShapeError);
    Tensor out = zeros({2, 3}, kFloat32, kCpu);
    CHECK_THROWS_WITH_AS(kernels::add_into(out, other), "add_into: x is [4] float32 cpu, expected shape [2, 3]",
                         ShapeError);
    CHECK_THROWS_WITH_AS(kernels::axpy_into(out, 2, f64),
                         "axpy_into: x is [2, 3] float64 cpu, expected float32 like out", DTypeError);
    Tensor expanded = zeros({2, 1}, kFloat32, kCpu).expand({2, 3});
    CHECK_THROWS_WITH_AS(kernels::scale_into(expanded, 2),
                         "scale_into: out is an expanded view [2, 3] float32 cpu whose dimension 1 has stride 0; "
                         "expected one element per index",
                         ShapeError);
  }
}

}  // namespace subquad
