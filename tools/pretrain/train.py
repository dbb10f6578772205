#!/usr/bin/env python3
"""Train a HyenaDNA model on a packed file from prepare_data.py.

Next-base prediction with AdamW, warm-up and a cosine decay to zero.  The decay
follows whichever is further on, the steps or the wall time, so that a run with
--max-seconds ends with a fully decayed, saved model before its limit.  Matrix
products run in bfloat16 on a GPU; the long convolution and its filters stay in
float32.  Writes config.json, model.safetensors and train.json into --out.
"""

import argparse
import json
import math
import os
import sys
import time

START = time.time()

import torch
import torch.nn.functional as F

from dataset import Packed, Sampler
from hyenadna import FIRST_BASE, Config, HyenaDNA, HyenaMixer, fft_conv


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


def check_gradient(conv):
    """A written-out gradient against the automatic one."""
    g = torch.Generator().manual_seed(1)
    v = torch.randn(3, 4, 16, generator=g, dtype=torch.float64, requires_grad=True)
    h = torch.randn(4, 16, generator=g, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 4, 16, generator=g, dtype=torch.float64)
    a = torch.autograd.grad((fft_conv(v, h) * w).sum(), (v, h))
    b = torch.autograd.grad((conv(v, h) * w).sum(), (v, h))
    for x, y in zip(a, b):
        assert torch.allclose(x, y, atol=1e-12), "gradient of the convolution is wrong"


def parameter_groups(model, decay):
    """Weight decay on the matrices of the blocks; none on filters, norms, biases, embeddings."""
    with_decay, without = [], []
    for name, value in model.named_parameters():
        dense = name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))
        (with_decay if dense else without).append(value)
    return [{"params": with_decay, "weight_decay": decay},
            {"params": without, "weight_decay": 0.0}]


def evaluate(model, codes, windows, length, rows, device):
    """Mean loss in nats a base on A, C, G, T targets: over 4 and over 16 classes.

    The first base of a window has no score.  Runs in plain float32.
    """
    total4 = total16 = hits = 0.0
    count = 0
    ramp = torch.arange(length, device=device)
    with torch.no_grad():
        for i in range(0, len(windows), rows):
            first = torch.as_tensor(windows[i : i + rows], device=device)
            ids = codes[first[:, None] + ramp].long() + FIRST_BASE
            _, logits = model(ids)
            logits, target = logits[:, :-1].double(), ids[:, 1:]
            good = target < FIRST_BASE + 4
            logits, target = logits[good], target[good]
            total16 += F.cross_entropy(logits, target, reduction="sum").item()
            four = logits[:, FIRST_BASE : FIRST_BASE + 4]
            total4 += F.cross_entropy(four, target - FIRST_BASE, reduction="sum").item()
            hits += (four.argmax(1) == target - FIRST_BASE).sum().item()
            count += target.numel()
    return {"nats_per_base_acgt": total4 / count, "nats_per_base_16": total16 / count,
            "accuracy_acgt": hits / count, "bases": count, "windows": len(windows)}


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="packed .npz from prepare_data.py")
    p.add_argument("--out", required=True, help="model directory to write")
    p.add_argument("--d-model", type=int, default=128)
    p.add_argument("--n-layer", type=int, default=2)
    p.add_argument("--window", type=int, default=1024, help="bases in a training window")
    p.add_argument("--max-seq-len", type=int, help="default: window + 2")
    p.add_argument("--filter-shift", type=float, default=0.05)
    p.add_argument("--filter-init", choices=("uniform", "normal"), default="uniform",
                   help="start of the filter MLP: torch's uniform weights (filters of about "
                        "120 cycles a window) or small normal ones (a few cycles)")
    p.add_argument("--batch", type=int, default=256, help="windows in a step")
    p.add_argument("--steps", type=int, default=10000)
    p.add_argument("--max-seconds", type=float, default=1e9,
                   help="wall time from the start of the program to the last step")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--beta2", type=float, default=0.98)
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--warmup", type=int, default=200)
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--disturb", type=float, default=0.08, help="share of disturbed windows")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--eval-every", type=int, default=1000)
    p.add_argument("--eval-part", type=int, default=8,
                   help="evaluations on the way use every n-th window")
    p.add_argument("--final-part", type=int, default=1, help="the same for the last evaluation")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--compile", action="store_true", help="use torch.compile")
    args = p.parse_args()

    def say(text):
        print("%7.1f s  %s" % (time.time() - START, text), flush=True)

    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    data = Packed(args.data)
    sampler = Sampler(data, args.window, device, args.seed, args.disturb)
    windows = data.validation_windows(args.window)
    say("%d places to start a window, %d validation windows" % (sampler.places, len(windows)))

    cfg = Config(d_model=args.d_model, d_inner=4 * args.d_model, n_layer=args.n_layer,
                 emb_dim=5, filter_order=64, activation_freq=10, vocab_size=12,
                 max_seq_len=args.max_seq_len or args.window + 2,
                 filter_shift=args.filter_shift, filter_init=args.filter_init)
    model = HyenaDNA(cfg).to(device)
    parameters = sum(v.numel() for v in model.parameters())
    name = torch.cuda.get_device_name(0) if cuda else "CPU"
    say("%d parameters on %s, torch %s" % (parameters, name, torch.__version__))

    conv = compiled_conv() if args.compile else fast_conv
    check_gradient(conv)
    HyenaMixer.convolve = staticmethod(conv)

    def loss_of(inputs, targets):
        with torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=cuda):
            hidden = model.backbone(inputs)
        logits = F.linear(hidden.float(), model.lm_head.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    step_loss = torch.compile(loss_of, dynamic=False, fullgraph=True) if args.compile else loss_of
    options = {"fused": True} if cuda else {}
    optimizer = torch.optim.AdamW(parameter_groups(model, args.weight_decay), lr=args.lr,
                                  betas=(0.9, args.beta2), **options)

    history, recent, step, progress = [], [], 0, 0.0
    first_step_done = None
    loop_start = time.time()
    while True:
        elapsed = time.time() - START
        progress = max(step / args.steps, (elapsed - (loop_start - START)) /
                       max(args.max_seconds - (loop_start - START), 1e-9))
        if progress >= 1.0:
            break
        lr = args.lr * min(1.0, (step + 1) / args.warmup) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = lr
        inputs, targets = sampler.batch(args.batch)
        loss = step_loss(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()
        recent.append(loss.detach())
        step += 1
        if step == 1:
            recent[-1].item()
            first_step_done = time.time()
            say("first step done")
        if len(recent) == 100:
            mean = torch.stack(recent).mean().item()  # also waits for the device
            recent = []
            now = time.time()
            rate = (step - 1) * args.batch * args.window / (now - first_step_done)
            if step % 500 == 0 or step <= 200:
                say("step %d  loss %.4f  lr %.2e  %.2f M bases/s" % (step, mean, lr, rate / 1e6))
            history.append({"step": step, "seconds": round(now - START, 2),
                            "train_loss_16": round(mean, 5), "lr": lr})
            if not math.isfinite(mean):
                say("loss is not finite; stopped")
                return 8
        if step % args.eval_every == 0:
            r = evaluate(model, sampler.codes, windows[:: args.eval_part], args.window, 128, device)
            history.append({"step": step, "seconds": round(time.time() - START, 2), "held_out": r})
            say("step %d  held-out %.4f nats/base (4 classes), %.4f (16)" % (
                step, r["nats_per_base_acgt"], r["nats_per_base_16"]))
            model.save(args.out)  # whatever happens later, this much is kept
    if cuda:
        torch.cuda.synchronize()
    trained = time.time()
    model.save(args.out)
    say("%d steps done, saved" % step)
    final = evaluate(model, sampler.codes, windows[:: args.final_part], args.window, 128, device)
    record = {
        "arguments": {k: v for k, v in vars(args).items() if k not in ("data", "out")},
        "device": name, "torch": torch.__version__, "parameters": parameters,
        "steps_done": step, "bases_seen": step * args.batch * args.window,
        "training_acgt": data.meta["training_acgt"],
        "validation_acgt": data.meta["validation_acgt"],
        "seconds_training": round(trained - loop_start, 1),
        "seconds_total": round(time.time() - START, 1),
        "held_out": final, "history": history,
    }
    with open(os.path.join(args.out, "train.json"), "w") as f:
        json.dump(record, f, indent=1)
        f.write("\n")
    say("held-out %.5f nats/base (4 classes), %.5f (16 classes), accuracy %.4f, %d bases" % (
        final["nats_per_base_acgt"], final["nats_per_base_16"], final["accuracy_acgt"],
        final["bases"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
