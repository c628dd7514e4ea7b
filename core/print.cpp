#include <iomanip>
#include <ostream>

#include "subquad/core/tensor.h"

namespace subquad {
namespace {

constexpr Index kPrintInFull = 1000;  // tensors up to this many elements are printed whole
constexpr Index kEdge = 3;            // of larger ones, this many at each end of an axis

template <class T>
void print_element(std::ostream& out, T value) {
  if constexpr (std::same_as<T, bool>)
    out << (value ? "true" : "false");
  else if constexpr (std::same_as<T, BFloat16>)
    out << static_cast<float>(value);
  else if constexpr (std::same_as<T, std::uint8_t>)
    out << static_cast<int>(value);
  else
    out << value;
}

template <class T>
void print_axis(std::ostream& out, const Tensor& t, int dim, Index offset, bool whole) {
  if (dim == t.rank()) {
    print_element(out, t.data<T>()[offset]);
    return;
  }
  const Index extent = t.shape()[dim];
  out << '[';
  for (Index i = 0; i < extent; ++i) {
    const bool last_axis = dim + 1 == t.rank();
    if (i > 0) {
      out << ',';
      if (last_axis)
        out << ' ';
      else
        out << '\n' << std::string(static_cast<std::size_t>(dim) + 1, ' ');
    }
    if (!whole && i == kEdge && extent > 2 * kEdge) {
      out << "...";
      i = extent - kEdge - 1;
    } else {
      print_axis<T>(out, t, dim + 1, offset + i * t.strides()[dim], whole);
    }
  }
  out << ']';
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "undefined tensor";
  const Tensor here = tensor.to(kCpu);
  std::ostringstream text;
  text << std::setprecision(6);
  visit_any(here.dtype(), [&]<class T>(Type<T>) { print_axis<T>(text, here, 0, 0, here.size() <= kPrintInFull); });
  return out << text.str() << "  " << tensor.shape() << ' ' << tensor.dtype() << ' ' << tensor.device();
}

}  // namespace subquad
