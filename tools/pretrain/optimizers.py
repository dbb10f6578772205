"""AdamW and Muon over the parameters of a HyenaDNA model."""

import math

import torch


def is_dense(name):
    """The matrices of the blocks: they have weight decay, and Muon if it is chosen."""
    return name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))


def orthogonalize(stack):
    """Five Newton-Schulz steps on (N, rows, cols), rows <= cols: singular values near 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack.bfloat16() if stack.is_cuda else stack
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = torch.bmm(x, x.transpose(1, 2))
        poly = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return x.to(stack.dtype)


class Stack:
    """Same-shaped matrices that are updated together, as views with rows <= cols."""

    def __init__(self):
        self.parts = []  # parameter, view of it from (parameter or gradient)
        self.buffer = None

    def add(self, parameter, view):
        self.parts.append((parameter, view))

    def gradients(self):
        return torch.stack([view(p.grad) for p, view in self.parts])

    def weights(self):
        return [view(p.data) for p, view in self.parts]


class Muon:
    """Momentum (Nesterov), orthogonalized; the size of a step is like AdamW's.

    in_proj counts as its three square parts.  An orthogonal matrix has a root mean
    square of 1/sqrt(max(rows, cols)); the factor brings that to 0.2.
    """

    def __init__(self, named, lr, decay, momentum=0.95):
        self.param_groups = [{"lr": lr, "factor": 1.0}]
        self.decay, self.momentum = decay, momentum
        self.stacks = {}
        for name, p in named:
            pieces = 3 if name.endswith("in_proj.weight") else 1
            rows = p.shape[0] // pieces
            for i in range(pieces):
                flip = rows > p.shape[1]
                shape = (p.shape[1], rows) if flip else (rows, p.shape[1])
                self.stacks.setdefault(shape, Stack()).add(p, self.viewer(i * rows, rows, flip))

    @staticmethod
    def viewer(start, rows, flip):
        if flip:
            return lambda x: x[start : start + rows].t()
        return lambda x: x[start : start + rows]

    @torch.no_grad()
    def step(self):
        lr = self.param_groups[0]["lr"]
        for shape, stack in self.stacks.items():
            grad = stack.gradients()
            if stack.buffer is None:
                stack.buffer = torch.zeros_like(grad)
            stack.buffer.lerp_(grad, 1 - self.momentum)
            update = orthogonalize(grad.lerp(stack.buffer, self.momentum))
            weights = stack.weights()
            torch._foreach_mul_(weights, 1 - lr * self.decay)
            torch._foreach_add_(weights, list(update.unbind()),
                                alpha=-lr * 0.2 * math.sqrt(max(shape)))

    def state_dict(self):
        return {"state": {"%dx%d" % shape: stack.buffer for shape, stack in self.stacks.items()
                          if stack.buffer is not None}}

    def load_state_dict(self, state):
        for shape, stack in self.stacks.items():
            buffer = state["state"].get("%dx%d" % shape)
            stack.buffer = None if buffer is None else buffer.to(stack.parts[0][0].device)


def make_optimizers(model, kind, lr, lr_rest, decay, beta2, fused):
    """One or two optimizers; each group's lr is to be set to factor * the schedule's."""
    dense = [(n, p) for n, p in model.named_parameters() if is_dense(n)]
    rest = [p for n, p in model.named_parameters() if not is_dense(n)]
    factor = 1.0 if lr_rest is None else lr_rest / lr
    groups = [{"params": rest, "weight_decay": 0.0, "factor": factor}]
    out = []
    if kind == "muon":
        out.append(Muon(dense, lr, decay))
    else:
        groups.insert(0, {"params": [p for _, p in dense], "weight_decay": decay, "factor": 1.0})
    out.append(torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2),
                                 **({"fused": True} if fused else {})))
    return out
