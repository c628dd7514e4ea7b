// How far each mechanism's mixing matrix, and what it makes of v, are from exact softmax attention on the same q, k, v.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "subquad/examples/compare/inputs.h"
#include "subquad/examples/compare/sparse_factors.h"

namespace subquad::compare {

// One measurement. What is named "best" is a bound of limits.h, not a mechanism.
struct ErrorRow {
  std::string inputs;               // kind of inputs, or "files"
  Index positions = 0;              // N
  std::string way;                  // "nystrom", "fsat, fresh", "best rank", ...
  std::string budget;               // "32 landmarks"
  Index keys = 0;                   // the budget that was asked for; 0: the way has none
  double flops = 0;                 // a query; 0 of the bounds that no mechanism has to pay for
  double matrix_error = 0;          // || A' - A || / || A ||, Frobenius
  double output_error = 0;          // || A' v - A v || / || A v ||; NaN where there is no A' but its error alone
  std::optional<double> mass = {};  // of A on the keys that are seen, for ways that choose keys
  std::optional<double> most = {};  // an upper bound on it for any choice of as many lags and columns
};

struct ErrorOptions {
  std::vector<Index> keys = {64};  // budgets: what a query may look at, in keys of softmax attention (work.h)
  std::vector<Index> factors;      // of the fitted products of sparse factors; 0: about log2 N; empty: no fit
  std::vector<Index> links = {};   // of a row of each of about log2 N fitted factors, by CDIL's protocol; odd
  FitOptions fit = {};
  std::uint64_t seed = 1;  // of fresh parameters
};

// Softmax weights [N, N] of the one head: made in double precision, rounded to float32.
Tensor exact_matrix(const Inputs& in);

// A budget of K keys is K/2 landmarks (each is met twice: by F and by S), K/2 lags and K/2 columns, K/2 neighbours to
// either side, segments of K/2 tokens. Ways: softmax; mean of all; local; nystrom with 6 steps of its
// pseudo-inverse, which is what models have, and with 14; best rank; combiner with segments
// pooled by max and by mean, logsparse and the grids, which have no budgets; fsat with a fresh cross and with one that
// sees q and k (no lag is forced), best lags and columns, best keys, best sparse; paramixer, fresh, and fitted by
// either protocol. `told` hears the name of each before it is measured.
std::vector<ErrorRow> measure_errors(const Inputs& in, const ErrorOptions& options,
                                     const std::function<void(const std::string&)>& told);

}  // namespace subquad::compare
