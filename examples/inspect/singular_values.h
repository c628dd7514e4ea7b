// How much of a matrix there is: its singular values, and the two ranks that they give.
//
//   singular_values   s_1 >= s_2 >= ... >= s_N >= 0 of A
//   effective_rank    exp(-sum_i p_i ln p_i) with p_i = s_i / sum_k s_k: 1 ... N, N where all are equal
//   numerical_rank    how many s_i > tolerance s_1; 0 stands for N eps of float32, in which matrices are computed
//
//   product_singular_values   those of A B^T, A and B [N, E]: the first min(N, E); all others are 0
//
// A [..., N, N] gives [..., N], float64 on the CPU; float32 or float64, any device and strides. Error naming the matrix
// and the place of an element that is no finite number. Both ranks of a zero matrix are 0.
//
// LAPACK's gesdd does it, in the dtype of A and from the OpenBLAS that matrix products come from: 8/3 N^3 flops a
// matrix, a matrix to each thread (a single one gets all threads, whose number may change the last bits). Errors are a
// few roundings of s_1. An OpenBLAS that was built without LAPACK leaves it to loops of ours, in float64 (Householder
// bidiagonalisation, then bisection), some times slower.
//
// Source: Roy & Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007; Golub & Van Loan,
// "Matrix Computations", 4th edition, sections 5.4.8 and 8.4.1.
#pragma once

#include <span>
#include <vector>

#include "subquad/core/tensor.h"

namespace subquad::inspect {

enum class SvdMethod { best, lapack, own };  // lapack: Error where there is none

Tensor singular_values(const Tensor& matrices, SvdMethod method = SvdMethod::best);

// In float64, by A = Q_A R_A and B = Q_B R_B (Gram-Schmidt, twice): A B^T has the singular values of R_A R_B^T [E, E],
// and N^2 numbers need not be. 2 (4 N E^2) flops.
std::vector<double> product_singular_values(const Tensor& a, const Tensor& b);

double effective_rank(std::span<const double> singular_values);
Index numerical_rank(std::span<const double> singular_values, double tolerance = 0);

}  // namespace subquad::inspect
