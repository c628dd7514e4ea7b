#include "subquad/examples/compare/inputs.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include "subquad/core/npy.h"
#include "subquad/core/rng.h"
#include "subquad/nn/choice.h"

namespace subquad::compare {

namespace {

constexpr Index kFewestPositions = 8;

constexpr nn::Choices<InputKind, 4> kKinds = {{{"random", InputKind::random},
                                               {"smooth", InputKind::smooth},
                                               {"peaked", InputKind::peaked},
                                               {"stripes", InputKind::stripes}}};

Tensor normals(Index rows, Index width, std::uint64_t seed, std::string_view name) {
  Tensor out = empty({rows, width}, kFloat32, kCpu);
  fill_normal(out, 0, 1, seed, stream_id(name));
  return out;
}

// to[i] += factor * from[row(i)]
void add_rows(Tensor& to, double factor, const Tensor& from, const auto& row) {
  const auto out = to.view<float, 2>();
  const auto in = from.view<const float, 2>();
  for (Index i = 0; i < out.dim(0); ++i)
    for (Index e = 0; e < out.dim(1); ++e) out(i, e) += static_cast<float>(factor) * in(row(i), e);
}

Tensor waves(Index positions, Index width, std::uint64_t seed, std::string_view name) {
  constexpr Index kCycles = 8;
  const Tensor drawn = normals(2 * kCycles, width, seed, name);
  Tensor out = zeros({positions, width}, kFloat32, kCpu);
  const auto amplitude = drawn.view<const float, 2>();
  const auto z = out.view<float, 2>();
  for (Index i = 0; i < positions; ++i)
    for (Index c = 0; c < kCycles; ++c) {
      const double angle = 2 * std::numbers::pi * static_cast<double>((c + 1) * i) / static_cast<double>(positions);
      const auto cosine = static_cast<float>(std::cos(angle) / std::sqrt(kCycles));
      const auto sine = static_cast<float>(std::sin(angle) / std::sqrt(kCycles));
      for (Index e = 0; e < width; ++e) z(i, e) += cosine * amplitude(2 * c, e) + sine * amplitude(2 * c + 1, e);
    }
  return out;
}

std::vector<Index> permutation(Index count, std::uint64_t seed) {
  std::vector<Index> places(static_cast<std::size_t>(count));
  std::iota(places.begin(), places.end(), Index{0});
  Rng rng(seed, stream_id("places"));
  for (Index i = count - 1; i > 0; --i)
    std::swap(places[static_cast<std::size_t>(i)], places[static_cast<std::size_t>(rng.below(i + 1))]);
  return places;
}

Index itself(Index i) {
  return i;
}

void make_smooth(Inputs& in, Index positions, Index width, std::uint64_t seed) {
  in.q = waves(positions, width, seed, "q");
  in.k = zeros({positions, width}, kFloat32, kCpu);
  add_rows(in.k, std::numbers::sqrt2 / 2, in.q, itself);
  add_rows(in.k, std::numbers::sqrt2 / 2, waves(positions, width, seed, "k"), itself);
  in.v = waves(positions, width, seed, "v");
}

void make_peaked(Inputs& in, Index positions, std::uint64_t seed) {
  const std::vector<Index> place = permutation(positions, seed);
  fill(in.q, 0);
  add_rows(in.q, 2, in.k, [&](Index i) { return place[static_cast<std::size_t>(i)]; });
}

void make_stripes(Inputs& in, Index positions, Index width, std::uint64_t seed) {
  constexpr std::size_t kColumns = 4;
  Tensor u = normals(1, width, seed, "u");
  for (float& x : u.span<float>()) x = x < 0 ? -1.0f : 1.0f;
  const auto common = [](Index) { return 0; };
  const std::vector<Index> place = permutation(positions, seed);
  for (std::size_t c = 0; c < kColumns; ++c) {
    Tensor key = in.k.slice(0, place[c], place[c] + 1);
    add_rows(key, 1.5, u, common);
  }
  fill(in.q, 0);
  add_rows(in.q, 1.2, in.k, [&](Index i) { return (i + positions - 1) % positions; });
  add_rows(in.q, 1.2, in.k, [&](Index i) { return (i + positions / 5) % positions; });
  add_rows(in.q, 0.7, u, common);
}

Tensor read_rows(const std::filesystem::path& path) {
  const Tensor rows = read_npy(path);
  if (rows.dtype() != kFloat32 && rows.dtype() != kFloat64)
    throw DTypeError(cat(path.string(), ": the elements are ", rows.dtype(), ", expected float32 or float64"));
  if (rows.rank() != 2 || rows.dim(0) < kFewestPositions || rows.dim(1) < 1)
    throw ShapeError(cat(path.string(), ": the shape is ", rows.shape(), ", expected [N, E], one head of at least ",
                         kFewestPositions, " positions"));
  Tensor out = rows.to(kFloat32).contiguous();
  for (const float x : out.span<float>())
    if (!std::isfinite(x)) throw Error(cat(path.string(), ": there is a number that is not finite"));
  return out;
}

}  // namespace

InputKind parse_input_kind(std::string_view name) {
  return nn::choose("inputs", kKinds, name);
}

std::string_view input_kind_name(InputKind kind) {
  return nn::name_of(kKinds, kind);
}

Inputs make_inputs(InputKind kind, Index positions, Index width, std::uint64_t seed) {
  if (positions < kFewestPositions)
    throw Error(cat("inputs: there are ", positions, " positions, expected at least ", kFewestPositions));
  if (width < 1) throw Error(cat("inputs: width is ", width, ", expected at least 1"));
  Inputs in{.name = std::string(input_kind_name(kind)),
            .q = normals(positions, width, seed, "q"),
            .k = normals(positions, width, seed, "k"),
            .v = normals(positions, width, seed, "v")};
  if (kind == InputKind::smooth) make_smooth(in, positions, width, seed);
  if (kind == InputKind::peaked) make_peaked(in, positions, seed);
  if (kind == InputKind::stripes) make_stripes(in, positions, width, seed);
  return in;
}

Inputs read_inputs(const std::filesystem::path& folder) {
  Inputs in{.name = "files",
            .q = read_rows(folder / "q.npy"),
            .k = read_rows(folder / "k.npy"),
            .v = read_rows(folder / "v.npy")};
  for (const auto& [name, other] : {std::pair("k.npy", in.k), std::pair("v.npy", in.v)})
    if (other.shape() != in.q.shape())
      throw ShapeError(
          cat((folder / name).string(), ": the shape is ", other.shape(), ", expected that of q.npy, ", in.q.shape()));
  return in;
}

}  // namespace subquad::compare
