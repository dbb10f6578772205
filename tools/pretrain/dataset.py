"""Reading the packed file of prepare_data.py, and cutting windows from it."""

import json

import numpy as np
import torch

from hyenadna import CLS, FIRST_BASE, PAD, TOKEN_OF, UNK

N = TOKEN_OF["N"]


class Packed:
    """The joined sequence as one byte a base: 0-3 for A C G T, 4 for anything else."""

    def __init__(self, path):
        with np.load(path) as f:
            packed = f["packed"]
            codes = np.empty((len(packed), 4), dtype=np.uint8)
            for i in range(4):
                codes[:, i] = (packed >> (2 * i)) & 3
            self.codes = codes.reshape(-1)
            for start, length in zip(f["other_start"], f["other_length"]):
                self.codes[start : start + length] = 4
            self.start = f["segment_start"]
            self.length = f["segment_length"]
            self.role = f["segment_role"]
            self.meta = json.loads(f["meta"].tobytes().decode())
        self.codes = self.codes[: int(self.length.sum())]

    def segments(self, role):
        """(start, length) of each training (0) or validation (1) segment."""
        pick = self.role == role
        return list(zip(self.start[pick].tolist(), self.length[pick].tolist()))

    def joined_segments(self, role, gap):
        """The same, neighbours of one name that lie at most `gap` bases apart as one.

        Dropped tiles cut much of the sequence into pieces shorter than a long window; a
        window over such a seam sees what a deletion would show it.
        """
        out, last = [], None
        names = self.meta["segments"]
        for i in range(len(self.start)):
            if self.role[i] != role:
                continue
            name, begin, size = names[i]
            if last is not None and name == last[0] and 0 <= begin - last[1] <= gap:
                out[-1][1] += int(self.length[i])
            else:
                out.append([int(self.start[i]), int(self.length[i])])
            last = name, begin + size
        return [tuple(pair) for pair in out]

    def validation_windows(self, window):
        """Start of each non-overlapping window, counted from the segment's first base."""
        out = []
        for start, length in self.segments(1):
            out += range(start, start + length - window + 1, window)
        return np.array(out, dtype=np.int64)


class Sampler:
    """Random training windows on a device: input ids and targets.

    A window is `length` + 1 bases at a uniformly drawn place in the training
    segments; half of them are reverse-complemented.  Inputs are the first `length`
    bases and targets the base after each; only A, C, G, T are targets.

    A small share of the windows is disturbed, so that the tokens users may meet are
    no strangers to the model: some letters replaced by N or [UNK], a [CLS] in front,
    or a run of [PAD] in front.
    """

    def __init__(self, data, length, device, seed, disturb=0.08, join_gap=0):
        self.device, self.disturb = device, disturb
        self.codes = torch.from_numpy(data.codes).to(device)
        self.segments = data.joined_segments(0, join_gap) if join_gap else data.segments(0)
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)
        self.set_length(length)

    def set_length(self, length):
        """Windows of this length from now on; the stream of random numbers goes on."""
        pick = [(start, size - length) for start, size in self.segments if size > length]
        if not pick:
            raise ValueError("no training segment is longer than %d bases" % length)
        room = [r for _, r in pick]
        self.length = length
        self.starts = torch.tensor([start for start, _ in pick], device=self.device)
        self.ends = torch.tensor(np.cumsum(room), device=self.device)
        self.places = int(sum(room))
        self.ramp = torch.arange(length + 1, device=self.device)

    def random(self, *shape):
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def batch(self, rows):
        g = self.generator
        place = torch.randint(self.places, (rows,), generator=g, device=self.device)
        segment = torch.searchsorted(self.ends, place, right=True)
        before = torch.where(segment > 0, self.ends[(segment - 1).clamp(min=0)],
                             torch.zeros_like(place))
        first = self.starts[segment] + place - before
        flip = self.random(rows) < 0.5
        ramp = torch.where(flip[:, None], self.length - self.ramp, self.ramp)
        codes = self.codes[first[:, None] + ramp].long()
        codes = torch.where(flip[:, None] & (codes < 4), 3 - codes, codes)
        ids = codes + FIRST_BASE  # 4 becomes 11, N

        inputs, follow = ids[:, :-1], ids[:, 1:]
        if self.disturb > 0:
            kind = self.random(rows)[:, None]
            step = self.disturb / 4
            # Two quarters: letters replaced, by N or by [UNK], at a rate of up to 5 %.
            hit = self.random(rows, self.length) < 0.05 * self.random(rows)[:, None]
            inputs = torch.where(hit & (kind < step), torch.full_like(inputs, N), inputs)
            inputs = torch.where(hit & (kind >= step) & (kind < 2 * step),
                                 torch.full_like(inputs, UNK), inputs)
            # One quarter: a [CLS] in front, everything else one later.
            ahead = torch.where((kind >= 2 * step) & (kind < 3 * step), 1, 0)
            # One quarter: up to half a window of [PAD] in front.
            pads = (self.random(rows)[:, None] * (self.length // 2)).long()
            ahead = torch.where((kind >= 3 * step) & (kind < 4 * step), pads, ahead)
            source = self.ramp[None, :-1] - ahead
            front = source < 0
            fill = torch.where(kind < 3 * step, CLS, PAD)
            source = source.clamp(min=0)
            inputs = torch.where(front, fill, inputs.gather(1, source))
            follow = torch.where(front, torch.full_like(follow, N), follow.gather(1, source))
        targets = torch.where((follow >= FIRST_BASE) & (follow < FIRST_BASE + 4), follow,
                              torch.full_like(follow, -100))
        return inputs, targets
