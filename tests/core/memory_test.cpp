#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "subquad/core/allocator.h"
#include "subquad/core/arena.h"
#include "subquad/core/graph.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;

// What this very program says when it runs the cases named `cases` on a GPU with SUBQUAD_CUDA_CACHE set.
std::string said_with_cache(const std::string& setting, const std::string& cases) {
  const std::string command = "SUBQUAD_CUDA_CACHE=" + setting + " /proc/" + std::to_string(::getpid()) +
                              "/exe --device cuda --no-colors --test-case='" + cases + "' 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string said;
  for (int c; (c = std::fgetc(pipe)) != EOF;) said += static_cast<char>(c);
  ::pclose(pipe);
  return said;
}

bool cache_is_off() {
  const char* const setting = std::getenv("SUBQUAD_CUDA_CACHE");
  return setting != nullptr && std::string_view(setting) == "off";
}

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

TEST_SUITE("cuda") {
  TEST_CASE("without a cache, what is freed goes back to the driver") {
    if (!cache_is_off()) {  // it is read once, so the case runs again, in a process of its own
      const std::string said = said_with_cache("off", "without a cache*");
      CHECK_MESSAGE(said.find("1 passed | 0 failed") != std::string::npos, said);
      return;
    }
    const Tensor kept = zeros({3}, kFloat32, device());
    const MemoryStats before = memory_stats(device());
    for (int value = 1; value <= 3; ++value) {
      Tensor copied = empty({1000}, kFloat64, device());
      {
        const Tensor passing = full({1000}, value, kFloat32, device());
        CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + 12000);  // to the byte
        copy(passing, copied);
      }
      CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + 8000);
      CHECK_EQ(test::at(copied, 999), value);  // the copy ran before its source went away
    }
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes);
    CHECK_EQ(memory_stats(device()).system_allocations, before.system_allocations + 6);

    Tensor passing = zeros({100}, kFloat32, device()), out = zeros({100}, kFloat32, device());
    Graph graph = Graph::capture(device(), [&] {
      passing = Tensor();
      const Tensor between = full({100}, 5, kFloat64, device());
      copy(between, out);
    });
    CHECK_EQ(memory_stats(device()).reserved_bytes,
             before.reserved_bytes + 1600);  // nothing goes back while it records
    graph.replay();
    CHECK_EQ(test::at(out, 99), 5);
    graph = Graph();
    out = Tensor();
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes);
  }

  TEST_CASE("a cache is on or off") {
    CHECK_NE(said_with_cache("never", "a smaller request*").find("SUBQUAD_CUDA_CACHE is \"never\", expected on or off"),
             std::string::npos);
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
