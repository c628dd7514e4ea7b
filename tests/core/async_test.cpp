// What does not wait: values read back later, batches that travel beside a step, graphs.
#include <doctest/doctest.h>

#include "subquad/core/allocator.h"
#include "subquad/core/graph.h"
#include "subquad/core/readback.h"
#include "subquad/core/upload.h"
#include "subquad/tests/support/compare.h"

namespace subquad {
namespace {

using test::device;
using test::here;

TEST_CASE("a readback holds the values of its moment") {
  Tensor x = full({3, 2}, 1, kFloat32, device());
  const Readback first(x.transpose(0, 1));
  fill(x, 2);
  const Readback second(x);
  fill(x, 3);
  CHECK(test::same_bits(first.value(), full({2, 3}, 1, kFloat32, kCpu)));
  CHECK(first.ready());
  CHECK(test::same_bits(second.value(), full({3, 2}, 2, kFloat32, kCpu)));
  CHECK_FALSE(Readback().value().defined());
  CHECK(Readback().ready());
}

TEST_CASE("a readback becomes ready without being waited for") {
  const Readback values(full({4}, 5, kFloat64, device()));
  int asked = 0;
  while (!values.ready()) ++asked;
  CHECK_EQ(test::at(values.value(), 3), 5);
  CHECK_LT(asked, 100'000'000);
}

TEST_CASE("the memory of a readback that nobody reads is not written to later") {
  for (int i = 0; i < 100; ++i) const Readback ignored(full({64}, i, kFloat32, device()));
  const Readback last(full({64}, -1, kFloat32, device()));
  CHECK(test::same_bits(last.value(), full({64}, -1, kFloat32, kCpu)));
}

TEST_CASE("batches arrive in the fixed tensors, one after the other") {
  Upload upload(device());
  std::vector<Tensor> fixed = {zeros({4}, kInt64, device()), zeros({2, 2}, kFloat32, device())};
  std::vector<Tensor> batch = {full({4}, 0, kInt64, kCpu), full({2, 2}, 0, kFloat32, kCpu)};
  upload.start(batch);
  std::vector<Tensor> seen;
  for (int step = 1; step <= 5; ++step) {
    upload.finish(fixed);
    fill(batch[0], step);
    fill(batch[1], -step);
    upload.start(batch);
    seen.push_back(fixed[0].clone());  // the step
    seen.push_back(fixed[1].clone());
  }
  for (int step = 0; step < 5; ++step) {
    CHECK_EQ(test::at(seen[static_cast<std::size_t>(2 * step)], 3), step);
    CHECK_EQ(test::at(seen[static_cast<std::size_t>(2 * step + 1)], 3), -step);
  }
}

TEST_CASE("batches may change their shape") {
  Upload upload(device());
  for (const Index length : {3, 5000, 7}) {
    std::vector<Tensor> fixed = {empty({length}, kFloat32, device())};
    upload.start({full({length}, 2, kFloat32, kCpu)});
    const Tensor other = full({length}, 9, kFloat32, device());  // takes its memory while the batch travels
    upload.finish(fixed);
    CHECK_EQ(test::at(fixed[0], length - 1), 2);
    CHECK_EQ(test::at(other, 0), 9);
  }
}

TEST_CASE("an upload says what it was not given") {
  Upload upload(device());
  std::vector<Tensor> fixed = {zeros({1}, kFloat32, device())};
  CHECK_THROWS_WITH_AS(upload.finish(fixed), "Upload::finish: no batch was started", Error);
  upload.start({zeros({1}, kFloat32, kCpu)});
  CHECK_THROWS_WITH_AS(upload.start({zeros({1}, kFloat32, kCpu)}),
                       "Upload::start: the batch before has not been taken by finish()", Error);
  std::vector<Tensor> none;
  CHECK_THROWS_WITH_AS(upload.finish(none), "Upload::finish: 0 tensors for a batch of 1", Error);
  upload.finish(fixed);
}

TEST_CASE("the CPU has no graphs") {
  CHECK_THROWS_WITH_AS(Graph::capture(kCpu, [] {}), "Graph::capture: cpu has no graphs, only a CUDA device has",
                       DeviceError);
  CHECK_FALSE(Graph().defined());
  CHECK_THROWS_WITH_AS(Graph().replay(), "Graph::replay: nothing was captured", Error);
}

TEST_SUITE("cuda") {
  TEST_CASE("a graph runs when it is replayed, on the values of that moment") {
    Tensor in = full({5, 3}, 1, kFloat32, device()), out = zeros({3, 5}, kFloat64, device());
    Graph graph = Graph::capture(device(), [&] { copy(in.transpose(0, 1), out); });
    CHECK(graph.defined());
    CHECK_EQ(graph.size(), 1);
    CHECK_EQ(test::at(out, 0), 0);
    for (const int value : {3, 4}) {
      fill(in, value);
      graph.replay();
      CHECK(test::same_bits(out, full({3, 5}, value, kFloat64, kCpu)));
    }
  }

  TEST_CASE("tensors made in a graph have new values after each replay") {
    Tensor in = full({1000}, 1, kFloat32, device()), made;
    Graph graph = Graph::capture(device(), [&] {
      const Tensor between = in.to(kFloat64);
      made = between.to(kInt32);
    });
    const std::vector<Tensor> strangers = {zeros({1000}, kFloat64, device()), zeros({1000}, kInt32, device())};
    fill(in, 7);
    graph.replay();
    CHECK_EQ(test::at(made, 999), 7);
    CHECK_EQ(test::at(strangers[0], 0), 0);  // the graph's memory is its own
    CHECK_EQ(test::at(strangers[1], 0), 0);
    fill(in, 8);
    graph.replay();
    CHECK_EQ(test::at(made, 999), 8);
    graph = Graph();
    CHECK_EQ(test::at(made, 0), 8);  // outlives the graph
  }

  TEST_CASE("the memory of a graph returns to the cache when the graph is gone") {
    release_cached_memory(device());
    const MemoryStats before = memory_stats(device());
    Tensor kept;
    Graph graph = Graph::capture(device(), [&] {
      kept = zeros({1 << 16}, kFloat32, device());
      for (int i = 0; i < 3; ++i) const Tensor passing = zeros({1 << 18}, kFloat32, device());  // one block
    });
    constexpr std::size_t kBytes = (std::size_t{1} << 18) + (std::size_t{1} << 20);
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + kBytes);
    { const Tensor outside = zeros({1 << 18}, kFloat32, device()); }
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + kBytes + (1 << 20));
    release_cached_memory(device());
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + kBytes);
    graph = Graph();
    release_cached_memory(device());
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes + (1 << 18));
    kept = Tensor();
    release_cached_memory(device());
    CHECK_EQ(memory_stats(device()).reserved_bytes, before.reserved_bytes);
    CHECK_EQ(memory_stats(device()).current_bytes, before.current_bytes);
  }

  TEST_CASE("neighbours use one pool, as large as the largest of them needs") {
    release_cached_memory(device());
    const std::size_t before = memory_stats(device()).reserved_bytes;
    std::vector<Tensor> results(3);
    std::vector<Graph> graphs;
    Tensor in = full({1 << 18}, 1, kFloat32, device());
    const std::size_t outside = memory_stats(device()).reserved_bytes - before;
    for (Tensor& result : results) {
      const Graph neighbour = graphs.empty() ? Graph() : graphs.front();
      graphs.push_back(Graph::capture(
          device(),
          [&] {
            const Tensor passing = in.to(kFloat64);
            result = passing.slice(0, 0, 3).to(kInt32);
          },
          neighbour));
    }
    CHECK_EQ(memory_stats(device()).reserved_bytes - before, outside + (std::size_t{1} << 21) + 3 * 512);
    for (const int value : {5, 6}) {
      fill(in, value);
      for (std::size_t i = 0; i < graphs.size(); ++i) {
        graphs[i].replay();
        CHECK_EQ(test::at(results[i], 2), value);
      }
    }
    graphs.erase(graphs.begin());  // the others keep the pool
    fill(in, 7);
    graphs[0].replay();
    CHECK_EQ(test::at(results[1], 0), 7);
  }

  TEST_CASE("waiting inside a graph is an error, and the device works on") {
    const Tensor x = full({2}, 3, kFloat32, device());
    const auto captured = [](const std::function<void()>& work) { return [work] { Graph::capture(device(), work); }; };
    const std::string waiting =
        ": a graph is being recorded on cuda:0, so nothing runs that could be waited for; read results after "
        "Graph::replay";
    CHECK_THROWS_WITH_AS(captured([&] { x.to(kCpu); })(), ("copy to the CPU" + waiting).c_str(), Error);
    CHECK_THROWS_WITH_AS(captured([&] { x.select(0, 0).item<float>(); })(), ("copy to the CPU" + waiting).c_str(),
                         Error);
    CHECK_THROWS_WITH_AS(captured([&] { synchronize(device()); })(), ("synchronize" + waiting).c_str(), Error);
    CHECK_THROWS_WITH_AS(captured([&] { Readback values(x); })(), ("Readback" + waiting).c_str(), Error);
    CHECK_THROWS_WITH_AS(
        captured([&] { arange(3, kFloat32, device()); })(),
        "copy: from cpu to cuda:0 while a graph is recorded: every replay would bring the same values; "
        "copy before it",
        Error);
    CHECK_THROWS_WITH_AS(captured([&] { release_cached_memory(device()); })(),
                         "release_cached_memory: a graph is being recorded", Error);
    CHECK_THROWS_WITH_AS(captured([&] { Graph::capture(device(), [] {}); })(),
                         "Graph::capture: a graph is being recorded already", Error);
    CHECK_EQ(test::at(x, 1), 3);
    Tensor y = zeros({2}, kFloat32, device());
    Graph graph = Graph::capture(device(), [&] { copy(x, y); });
    graph.replay();
    CHECK_EQ(test::at(y, 1), 3);
  }

  TEST_CASE("an exception inside a graph reaches the caller and leaves nothing behind") {
    const std::size_t in_use = memory_stats(device()).current_bytes;
    CHECK_THROWS_WITH_AS(Graph::capture(device(),
                                        [] {
                                          const Tensor made = zeros({100}, kFloat32, device());
                                          throw Error("no reason");
                                        }),
                         "no reason", Error);
    CHECK_EQ(memory_stats(device()).current_bytes, in_use);
    CHECK_EQ(test::at(full({2}, 4, kFloat32, device()), 0), 4);
  }

  TEST_CASE("a graph reads what an upload brings") {
    Upload upload(device());
    std::vector<Tensor> fixed = {zeros({8}, kFloat32, device())};
    Tensor out = zeros({8}, kFloat64, device());
    Graph graph = Graph::capture(device(), [&] { copy(fixed[0], out); });
    upload.start({full({8}, 0, kFloat32, kCpu)});
    for (int step = 1; step <= 3; ++step) {
      upload.finish(fixed);
      upload.start({full({8}, step, kFloat32, kCpu)});
      graph.replay();
      CHECK_EQ(test::at(out, 7), step - 1);
    }
  }
}

}  // namespace
}  // namespace subquad
