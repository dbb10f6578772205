"""The long convolution for training: written-out gradients, and packed transforms.

All take v (B, D, L) and h (D, L) as hyenadna.fft_conv does.  The plain ones run that
function and save its arguments.  The packed one lays two sequences of the batch into
the real and imaginary part of one complex transform: the filter is real, so they stay
apart.  Complex transforms need no copy of their input and no pass for the scale, their
products are plain arithmetic that torch.compile joins with its neighbours, and the
transform of v is kept for the gradient.
"""

import functools

import torch
import torch.nn.functional as F

from hyenadna import fft_conv


def conv_gradients(grad, v, h):
    """Gradients of fft_conv by three real transforms; the automatic ones use complex."""
    length = v.shape[-1]
    n = 2 * length
    gf = torch.fft.rfft(grad, n=n)
    gv = torch.fft.irfft(gf * torch.fft.rfft(h, n=n).conj(), n=n)[..., :length]
    gh = torch.fft.irfft((gf * torch.fft.rfft(v, n=n).conj()).sum(0), n=n)[..., :length]
    return gv.contiguous(), gh.contiguous()


class FFTConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, h):
        ctx.save_for_backward(v, h)
        return fft_conv(v, h).contiguous()

    @staticmethod
    def backward(ctx, grad):
        return conv_gradients(grad.contiguous(), *ctx.saved_tensors)


def fast_conv(v, h):
    return FFTConv.apply(v, h)


@functools.lru_cache(None)
def compiled_conv():
    """The same as operators that torch.compile takes as they are (torch 2.4 and later)."""

    @torch.library.custom_op("crocuta::conv", mutates_args=())
    def conv(v: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return fft_conv(v, h).contiguous()

    @torch.library.custom_op("crocuta::conv_gradients", mutates_args=())
    def gradients(grad: torch.Tensor, v: torch.Tensor,
                  h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return conv_gradients(grad, v, h)

    conv.register_fake(lambda v, h: v.new_empty(v.shape))
    gradients.register_fake(lambda g, v, h: (v.new_empty(v.shape), h.new_empty(h.shape)))
    conv.register_autograd(
        lambda ctx, grad: gradients(grad.contiguous(), *ctx.saved_tensors),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    return conv


def transform(x, inverse):
    """DFT without scale along the axis before the last; the last holds (re, im)."""
    z = torch.view_as_complex(x.contiguous())
    z = torch.fft.ifft(z, norm="forward") if inverse else torch.fft.fft(z)
    return torch.view_as_real(z)


@functools.lru_cache(None)
def compiled_transform():
    """The same as an operator; its gradient is the transform the other way."""

    @torch.library.custom_op("crocuta::transform", mutates_args=())
    def op(x: torch.Tensor, inverse: bool) -> torch.Tensor:
        return transform(x, inverse).contiguous()

    def keep(ctx, inputs, output):
        ctx.inverse = inputs[1]

    op.register_fake(lambda x, inverse: x.new_empty(x.shape))
    op.register_autograd(
        lambda ctx, grad: (op(grad.contiguous(), not ctx.inverse), None), setup_context=keep)
    return op


def packed_conv(compiled):
    """See the top of the file; an odd batch takes the plain way."""
    dft = compiled_transform() if compiled else transform
    plain = compiled_conv() if compiled else fast_conv

    def conv(v, h):
        batch, width, length = v.shape
        if batch % 2:
            return plain(v, h)
        z = v.reshape(2, batch // 2, width, length).permute(1, 2, 3, 0)
        a = dft(F.pad(z, (0, 0, 0, length)), False)
        b = dft(F.pad((h * (0.5 / length))[..., None], (0, 1, 0, length)), False)
        ar, ai, br, bi = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
        y = dft(torch.stack((ar * br - ai * bi, ar * bi + ai * br), -1), True)
        return y[:, :, :length].permute(3, 0, 1, 2).reshape(batch, width, length)

    return conv


def check_gradient(conv):
    """A convolution and its gradient against the automatic one."""
    g = torch.Generator().manual_seed(1)
    v = torch.randn(4, 4, 16, generator=g, dtype=torch.float64, requires_grad=True)
    h = torch.randn(4, 16, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 4, 16, generator=g, dtype=torch.float64)
    want, got = fft_conv(v, h), conv(v, h)
    assert torch.allclose(want, got, atol=1e-12), "the convolution is wrong"
    a = torch.autograd.grad((want * w).sum(), (v, h))
    b = torch.autograd.grad((got * w).sum(), (v, h))
    for x, y in zip(a, b):
        assert torch.allclose(x, y, atol=1e-12), "gradient of the convolution is wrong"
