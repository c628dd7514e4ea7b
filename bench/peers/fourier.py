"""Transforms and cyclic products along the positions. Complex numbers come and go as pairs of real ones, as in bench_kernel."""

import torch


def complex_of(x):
    return torch.view_as_complex(x.contiguous())


def fft(t, shape):
    return torch.view_as_real(torch.fft.fft(complex_of(t["x"]), dim=int(shape["axis"])))


def rfft(t, shape):
    return torch.view_as_real(torch.fft.rfft(t["x"], dim=int(shape["axis"])))


def irfft(t, shape):
    return torch.fft.irfft(complex_of(t["x"]), int(shape["n"]), dim=int(shape["axis"]))


def convolve(t, shape):
    a, b = (torch.fft.rfft(t[name], dim=1) for name in ("a", "b"))
    return torch.fft.irfft(a * b, t["a"].shape[1], dim=1)


def correlate(t, shape):
    a, b = (torch.fft.rfft(t[name], dim=1) for name in ("a", "b"))
    return torch.fft.irfft(a.conj() * b, t["a"].shape[1], dim=1)


WAYS = {name: {"torch.fft": way} for name, way in (("fft", fft), ("rfft", rfft), ("irfft", irfft), ("circular_convolve", convolve),
                                                   ("circular_correlate", correlate))}
