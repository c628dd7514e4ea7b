#include <doctest/doctest.h>

#include "subquad/core/allocator.h"
#include "subquad/core/arena.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;

TEST_CASE("blocks are aligned, counted and used again") {
  release_cached_memory(device());
  const MemoryStats before = memory_stats(device());
  const void* first = nullptr;
  {
    const Tensor t = empty({1000}, kFloat32, device());
    first = t.bytes();
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(first) % kAlignment, 0);
    CHECK_EQ(memory_stats(device()).current_bytes, before.current_bytes + 4000);
  }
  CHECK_EQ(memory_stats(device()).current_bytes, before.current_bytes);
  const Tensor again = empty({1001}, kFloat32, device());  // same size class
  CHECK_EQ(again.bytes(), first);
  CHECK_EQ(memory_stats(device()).system_allocations, before.system_allocations + 1);
  CHECK_EQ(memory_stats(device()).allocations, before.allocations + 2);
}

TEST_CASE("the peak is the largest sum of live bytes") {
  reset_peak_memory(device());
  const std::size_t base = memory_stats(device()).current_bytes;
  { const Tensor a = empty({100}, kUInt8, device()), b = empty({50}, kUInt8, device()); }
  const Tensor c = empty({30}, kUInt8, device());
  CHECK_EQ(memory_stats(device()).peak_bytes, base + 150);
  reset_peak_memory(device());
  CHECK_EQ(memory_stats(device()).peak_bytes, base + 30);
}

TEST_CASE("cached blocks can be given back") {
  { const Tensor t = empty({12345}, kFloat64, device()); }
  release_cached_memory(device());
  const std::size_t reserved = memory_stats(device()).reserved_bytes;
  { const Tensor t = empty({12345}, kFloat64, device()); }
  CHECK_GT(memory_stats(device()).reserved_bytes, reserved);
  release_cached_memory(device());
  CHECK_EQ(memory_stats(device()).reserved_bytes, reserved);
}

TEST_CASE("a smaller request takes a free block of up to twice its size") {
  release_cached_memory(device());
  { const Tensor t = empty({4000}, kUInt8, device()); }
  const std::uint64_t before = memory_stats(device()).system_allocations;
  { const Tensor t = empty({2100}, kUInt8, device()); }
  CHECK_EQ(memory_stats(device()).system_allocations, before);
  { const Tensor t = empty({1000}, kUInt8, device()); }
  CHECK_EQ(memory_stats(device()).system_allocations, before + 1);
}

TEST_CASE("the op that runs out of memory is named, and the process goes on") {
  const MemoryStats before = memory_stats(device());
  constexpr Index kTooMuch = Index{1} << 60;  // bytes
  const auto hungry_op = [] { return empty({kTooMuch}, kUInt8, device(), "hungry_op"); };
  CHECK_THROWS_WITH_AS(hungry_op(),
                       cat("hungry_op: out of memory on ", device(), ": asked for ", kTooMuch, " bytes, in use ",
                           before.current_bytes, ", peak ", before.peak_bytes)
                           .c_str(),
                       Error);
  CHECK_EQ(memory_stats(device()).current_bytes, before.current_bytes);
  CHECK_EQ(test::at(full({3}, 7, kFloat32, device()), 2), 7);
}

TEST_SUITE("cpu") {
  TEST_CASE("large blocks are aligned to huge pages") {
    const Tensor t = empty({1 << 20}, kFloat32, kCpu);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(t.bytes()) % (1 << 21), 0);
  }

  TEST_CASE("tensors of ever new sizes do not pile up in the cache") {
    constexpr std::size_t kLargest = std::size_t{160} << 20;
    for (std::size_t bytes = 1 << 20; bytes < kLargest; bytes += bytes / 10)
      const Tensor t = empty({static_cast<Index>(bytes)}, kUInt8, kCpu);
    CHECK_LE(memory_stats().reserved_bytes, 2 * (kLargest + memory_stats().current_bytes) + (std::size_t{64} << 20));
    release_cached_memory();
  }
}

TEST_CASE("an arena holds its parts one after the other, aligned") {
  const Arena arena({{3, 2}, {}, {0, 4}, {17}}, kFloat32, device());
  CHECK_EQ(arena.count(), 4);
  CHECK_EQ(arena.flat().dim(0), 16 + 16 + 0 + 32);
  for (std::size_t i = 0; i < arena.count(); ++i) {
    CHECK(arena.part(i).shares_storage_with(arena.flat()));
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(arena.part(i).bytes()) % kAlignment, 0);
  }
  Tensor part = arena.part(3);
  fill(part, 1);
  CHECK_EQ(test::at(arena.flat(), 32), 1);
  CHECK_EQ(test::at(arena.flat(), 31), 0);
  const Arena moments = arena.zeros_like();
  CHECK_FALSE(moments.flat().shares_storage_with(arena.flat()));
  CHECK_EQ(moments.part(0).shape(), Shape{3, 2});
  CHECK_EQ(Arena({}, kFloat32, device()).flat().size(), 0);
}

}  // namespace
}  // namespace subquad
