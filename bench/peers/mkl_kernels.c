/* PyTorch's matrix products and transforms are Intel's MKL, which takes slow kernels where the processor is not Intel's, whatever it can do:
 * on one core of a Zen 5, 107 instead of 238 Gflop/s. Loaded before it, this answers its question with yes, and MKL goes by what the
 * processor can do. peer_process.py compiles and loads it on processors of other makers. */

int mkl_serv_intel_cpu_true(void) { return 1; }
int mkl_serv_intel_cpu(void) { return 1; }
