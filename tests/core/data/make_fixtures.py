#!/usr/bin/env python3
"""Writes the files that safetensors_test.cpp and npy_test.cpp read, with the Python packages themselves.

Needs numpy and safetensors. Run it in this folder; the results are committed, so the tests need no Python.
"""
import numpy as np
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import save_file


def ramp(shape, dtype):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


save_file(
    {
        "f32": ramp((2, 3), "f4") - 2.5,
        "f64": ramp((3,), "f8") / 3,
        "i32": -ramp((2, 2), "i4"),
        "i64": ramp((2,), "i8") + 2**40,
        "u8": ramp((5,), "u1") + 250,
        "bool": np.array([True, False, True]),
        "c64": np.array([1 + 2j, -3.5j], dtype="c8"),
        "scalar": np.array(7.5, dtype="f4"),
        "empty": np.zeros((0, 4), dtype="f4"),
        "späße \"quoted\"\n": np.array([1.0], dtype="f4"),
    },
    "every_dtype.safetensors",
    metadata={"format": "np", "note": "tab\tand ü"},
)
save_file({}, "no_tensors.safetensors")
# NumPy has no bfloat16: 1, -2.5 and 0 by their bits.
bits = np.array([0x3F80, 0xC020, 0], dtype="u2")
bf16 = TensorSpec(dtype="bfloat16", shape=[3], data_ptr=bits.ctypes.data, data_len=bits.nbytes)
serialize_file({"bf16": bf16}, "bfloat16.safetensors")
# dtypes that are read as wider ones: smallest and largest values, and for float16 the subnormal ones, infinity and NaN
save_file(
    {
        "f16": np.array([[1, -2.5, 65504, -6.1035e-05], [2**-24, -1023 * 2**-24, -0.0, np.inf]], dtype="f2"),
        "f16 nan": np.array(np.nan, dtype="f2"),
        "f16 empty": np.zeros((2, 0), dtype="f2"),
        "i8": np.array([-128, -1, 127], dtype="i1"),
        "i16": np.array([-32768, 32767], dtype="i2"),
        "u16": np.array([0, 65535], dtype="u2"),
        "u32": np.array([0, 2**32 - 1, 7], dtype="u4"),
        "u64": np.array([0, 2**63 - 1], dtype="u8"),
    },
    "narrow_dtypes.safetensors",
)
save_file({"counts": np.array([1, 2**63], dtype="u8")}, "large_u64.safetensors")
f8 = TensorSpec(dtype="float8_e4m3fn", shape=[2], data_ptr=bits.ctypes.data, data_len=2)
serialize_file({"f8": f8}, "float8.safetensors")

np.save("float32.npy", ramp((2, 3), "f4") - 2.5)
np.save("float64_fortran.npy", np.asfortranarray(ramp((2, 3, 4), "f8")))
np.save("int32_big_endian.npy", ramp((3,), ">i4") - 1)
np.save("complex64_big_endian.npy", np.array([1 + 2j, -3.5j], dtype=">c8"))
np.save("complex128.npy", np.array([[1 + 2j, -3.5j]]))
np.save("bool.npy", np.array([True, False, True]))
np.save("uint8.npy", ramp((4,), "u1"))
np.save("int64_scalar.npy", np.array(2**40))
np.save("empty.npy", np.zeros((0, 4), dtype="f4"))
np.save("float16.npy", ramp((2,), "f2"))
np.save("structured.npy", np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]))
for version in ((2, 0), (3, 0)):
    with open("version_%d.npy" % version[0], "wb") as f:
        np.lib.format.write_array(f, ramp((2, 2), "f4"), version=version)
