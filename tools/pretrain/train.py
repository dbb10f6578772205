#!/usr/bin/env python3
"""Train a HyenaDNA model on a packed file from prepare_data.py.

Next-base prediction with AdamW or Muon, warm-up and a decay of the learning rate to
zero.  The decay follows whichever is furthest on: the steps, the wall time of
--max-seconds, or the training seconds of --budget-seconds, so that a run ends with a
fully decayed, saved model before its limit.  --phases trains on several lengths of
window one after the other.  With --state and --slice-seconds a run is cut into calls:
each goes on where the last one stopped.  Compilation and evaluation do not count as
training seconds.

Matrix products run in bfloat16 on a GPU; the long convolution and its filters stay in
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

from convolution import check_gradient, compiled_conv, fast_conv, packed_conv
from dataset import Packed, Sampler
from hyenadna import FIRST_BASE, Config, HyenaDNA, HyenaMixer
from optimizers import make_optimizers

STATE_FORMAT = "crocuta-train-1"
FORMULAS = (".pos_emb.z", ".pos_emb.t")  # not kept in a state


def say(text):
    print("%7.1f s  %s" % (time.time() - START, text), flush=True)


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


def rows_at_once(length):
    """Windows of an evaluation batch: 131,072 bases."""
    return max(1, 131072 // length)


def parse_phases(text):
    """ "8192x16:0.8,32768x4:0.2" -> [(window, batch, progress at which it ends)] """
    phases, total = [], 0.0
    for part in text.split(","):
        shape, _, share = part.partition(":")
        window, _, batch = shape.partition("x")
        window, batch, share = int(window), int(batch), float(share or 1.0)
        if window < 2 or batch < 1 or not share > 0:
            raise ValueError(part)
        total += share
        phases.append((window, batch, total))
    phases = [(w, b, end / total) for w, b, end in phases]
    return phases[:-1] + [phases[-1][:2] + (1.0,)]


class Clock:
    """Training seconds: runs between start() and stop(), which wait for the device."""

    def __init__(self, device):
        self.device, self.total, self.since = device, 0.0, None

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def start(self):
        self.wait()
        self.since = time.time()

    def stop(self):
        self.wait()
        if self.since is not None:
            self.total += time.time() - self.since
        self.since = None

    def now(self):
        return self.total + (time.time() - self.since if self.since is not None else 0.0)


class Trainer:
    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = torch.device(args.device)
        self.cuda = self.device.type == "cuda"
        self.phases = (parse_phases(args.phases) if args.phases
                       else [(args.window, args.batch, 1.0)])
        longest = max(window for window, _, _ in self.phases)
        self.data = Packed(args.data)
        self.sampler = Sampler(self.data, self.phases[0][0], self.device, args.seed,
                               args.disturb, args.join_gap)
        cfg = Config(d_model=args.d_model, d_inner=4 * args.d_model, n_layer=args.n_layer,
                     emb_dim=5, filter_order=64, activation_freq=10, vocab_size=12,
                     max_seq_len=args.max_seq_len or longest + 2,
                     filter_shift=args.filter_shift, filter_init=args.filter_init,
                     decay_init=args.decay_init)
        if longest > cfg.max_seq_len:
            raise SystemExit("train.py: a window of %d exceeds max_seq_len %d" % (
                longest, cfg.max_seq_len))
        self.model = HyenaDNA(cfg).to(self.device)
        self.parameters = sum(v.numel() for v in self.model.parameters())
        self.device_name = torch.cuda.get_device_name(0) if self.cuda else "CPU"
        say("%d parameters on %s, torch %s" % (
            self.parameters, self.device_name, torch.__version__))
        self.optimizers = make_optimizers(self.model, args.optimizer, args.lr, args.lr_rest,
                                          args.weight_decay, args.beta2, self.cuda)
        self.use_convolution(args.convolution)
        self.clock = Clock(self.device)
        self.step, self.bases, self.phase, self.calls = 0, 0, None, 0
        self.recent, self.history = [], []
        self.last_evaluation = 0.0
        self.loop_start = None

    # ------------------------------------------------------------ one step

    def use_convolution(self, kind):
        compiled = self.args.compile
        if kind == "packed":
            conv = packed_conv(compiled)
        else:
            conv = compiled_conv() if compiled else fast_conv
        check_gradient(conv)
        HyenaMixer.convolve = staticmethod(conv)
        self.convolution = kind
        self.step_loss = (torch.compile(self.loss_of, dynamic=False, fullgraph=True)
                          if compiled else self.loss_of)

    def loss_of(self, inputs, targets):
        with torch.autocast(device_type=self.device.type, dtype=torch.bfloat16,
                            enabled=self.cuda):
            hidden = self.model.backbone(inputs)
        logits = F.linear(hidden.float(), self.model.lm_head.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    def gradient(self, inputs, targets):
        self.model.zero_grad(set_to_none=True)
        loss = self.step_loss(inputs, targets)
        loss.backward()
        return loss.detach()

    def first_gradient(self, inputs, targets):
        """The one that compiles.  If the packed convolution does not compile here, the
        plain one takes its place."""
        try:
            return self.gradient(inputs, targets)
        except Exception as error:
            if self.convolution != "packed" or not self.args.compile:
                raise
            say("packed convolution failed, using the plain one: %s" % str(error)[:300])
        torch._dynamo.reset()
        self.use_convolution("plain")
        return self.gradient(inputs, targets)

    def take_step(self, progress, first):
        rate = self.args.lr * self.schedule(progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
        inputs, targets = self.sampler.batch(self.batch)
        loss = (self.first_gradient if first else self.gradient)(inputs, targets)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.recent.append(loss)
        self.step += 1
        self.bases += inputs.numel()
        return rate

    # ---------------------------------------------------- time and schedule

    def progress(self):
        args = self.args
        wall = time.time() - self.loop_start
        room = args.max_seconds - (self.loop_start - START)
        return max(self.step / args.steps, wall / max(room, 1e-9),
                   self.clock.now() / args.budget_seconds)

    def schedule(self, progress):
        warm = min(1.0, (self.step + 1) / self.args.warmup)
        if self.args.schedule == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * progress))
        return warm * min(1.0, (1.0 - progress) / self.args.decay_share)

    def enter_phase(self, phase):
        """Stops the clock; the first step of the phase starts it again."""
        self.clock.stop()
        self.phase = phase
        window, self.batch, end = self.phases[phase]
        self.sampler.set_length(window)
        self.windows = self.data.validation_windows(window)
        say("phase %d: %d windows of %d a step up to progress %.3f; %d places to start a "
            "window, %d validation windows" % (phase + 1, self.batch, window, end,
                                               self.sampler.places, len(self.windows)))

    # -------------------------------------------------------------- the loop

    def run(self):
        """Returns whether the training is complete; False: only the slice is."""
        self.loop_start = time.time()
        self.last_evaluation = self.clock.now()
        entered = None  # training seconds and bases when the phase's first step was done
        while True:
            progress = self.progress()
            if progress >= 1.0:
                return True
            if time.time() - START >= self.args.slice_seconds:
                return False
            phase = next(i for i, p in enumerate(self.phases) if progress < p[2])
            first = entered is None or phase != self.phase
            if first:
                self.enter_phase(phase)
                self.save_state()  # compilation takes long; a limit may strike in it
            rate = self.take_step(progress, first)
            if first:
                self.clock.start()
                entered = self.clock.now(), self.bases
                say("first step done")
            if len(self.recent) == 100 and not self.report(rate, *entered):
                raise FloatingPointError("loss is not finite; stopped")
            if self.evaluation_due():
                self.evaluate_on_the_way()

    def report(self, rate, seconds, bases):
        mean = torch.stack(self.recent).mean().item()  # also waits for the device
        self.recent = []
        speed = (self.bases - bases) / max(self.clock.now() - seconds, 1e-9)
        if self.step % 500 == 0 or self.step <= 200:
            say("step %d  loss %.4f  lr %.2e  %.2f M bases/s" % (
                self.step, mean, rate, speed / 1e6))
        self.note({"train_loss_16": round(mean, 5), "lr": rate})
        return math.isfinite(mean)

    def note(self, figures):
        entry = {"step": self.step, "seconds": round(time.time() - START, 2)}
        if self.args.state:
            entry.update(call=self.calls, training_seconds=round(self.clock.now(), 2))
        self.history.append(dict(entry, **figures))

    def evaluation_due(self):
        if self.args.eval_seconds:
            return self.clock.now() - self.last_evaluation >= self.args.eval_seconds
        return self.step % self.args.eval_every == 0

    def held_out(self, part):
        window = self.phases[self.phase][0]
        return evaluate(self.model, self.sampler.codes, self.windows[::part], window,
                        rows_at_once(window), self.device)

    def evaluate_on_the_way(self):
        self.clock.stop()
        r = self.held_out(self.args.eval_part)
        self.note({"held_out": r})
        say("step %d  held-out %.4f nats/base (4 classes), %.4f (16)" % (
            self.step, r["nats_per_base_acgt"], r["nats_per_base_16"]))
        self.model.save(self.args.out)  # whatever happens later, this much is kept
        self.save_state()
        self.last_evaluation = self.clock.now()
        self.clock.start()

    # ----------------------------------------------------------------- files

    def save_state(self):
        if not self.args.state:
            return
        weights = {k: v for k, v in self.model.tensors().items() if not k.endswith(FORMULAS)}
        record = {"format": STATE_FORMAT, "optimizer": self.args.optimizer,
                  "convolution": self.convolution, "step": self.step, "bases": self.bases,
                  "training_seconds": self.clock.now(), "calls": self.calls,
                  "recent": [float(x) for x in self.recent], "history": self.history}
        state = {"record": json.dumps(record), "weights": weights,
                 "optimizers": [o.state_dict()["state"] for o in self.optimizers],
                 "generator": self.sampler.generator.get_state()}
        os.makedirs(os.path.dirname(os.path.abspath(self.args.state)), exist_ok=True)
        torch.save(state, self.args.state + ".tmp")
        os.replace(self.args.state + ".tmp", self.args.state)

    def load_state(self):
        state = torch.load(self.args.state, map_location="cpu", weights_only=True)
        record = json.loads(state["record"])
        if record["format"] != STATE_FORMAT or record["optimizer"] != self.args.optimizer:
            raise SystemExit("train.py: %s is the state of another kind of run" %
                             self.args.state)
        self.model.load_tensors(state["weights"])
        for optimizer, values in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(dict(optimizer.state_dict(), state=values))
        if record["convolution"] != self.convolution:
            self.use_convolution(record["convolution"])
        self.sampler.generator.set_state(state["generator"])
        self.step, self.bases, self.calls = record["step"], record["bases"], record["calls"]
        self.clock.total = record["training_seconds"]
        self.recent = [torch.tensor(x, device=self.device) for x in record["recent"]]
        self.history = record["history"]
        say("going on after step %d, %.1f training seconds" % (self.step, self.clock.total))

    def finish(self, complete):
        """Save, evaluate and write the record."""
        args = self.args
        trained = time.time()
        self.model.save(args.out)
        self.save_state()
        say("%d steps done, saved%s" % (self.step, "" if complete else "; to be continued"))
        final = self.held_out(args.final_part if complete else args.eval_part)
        skip = ("data", "out", "state")
        record = {
            "arguments": {k: printable(v) for k, v in vars(args).items() if k not in skip},
            "device": self.device_name, "torch": torch.__version__,
            "parameters": self.parameters, "convolution": self.convolution,
            "complete": complete, "steps_done": self.step, "bases_seen": self.bases,
            "training_acgt": self.data.meta["training_acgt"],
            "validation_acgt": self.data.meta["validation_acgt"],
            "seconds_training": round(
                self.clock.now() if args.state else trained - self.loop_start, 1),
            "seconds_total": round(time.time() - START, 1), "calls": self.calls,
            "held_out": final, "history": self.history,
        }
        with open(os.path.join(args.out, "train.json"), "w") as f:
            json.dump(record, f, indent=1)
            f.write("\n")
        say("held-out %.5f nats/base (4 classes), %.5f (16 classes), accuracy %.4f, %d bases" % (
            final["nats_per_base_acgt"], final["nats_per_base_16"], final["accuracy_acgt"],
            final["bases"]))


def printable(value):
    """Infinity is no JSON."""
    return None if isinstance(value, float) and math.isinf(value) else value


def add_model_options(p):
    p.add_argument("--d-model", type=int, default=128)
    p.add_argument("--n-layer", type=int, default=2)
    p.add_argument("--window", type=int, default=1024, help="bases in a training window")
    p.add_argument("--max-seq-len", type=int, help="default: longest window + 2")
    p.add_argument("--filter-shift", type=float, default=0.05)
    p.add_argument("--filter-init", choices=("uniform", "normal", "multiscale"),
                   default="uniform",
                   help="start of the filter MLP: torch's uniform weights (filters of about "
                        "120 cycles a window), small normal ones (a few cycles), or uniform "
                        "with the units of the first layer sped up by 1 to max_seq_len/1026")
    p.add_argument("--decay-init", choices=("standard", "log"), default="standard",
                   help="decay of the filters over the channels: the published rates, or "
                        "log-spaced up to max_seq_len/1026 times the fastest of them")


def add_run_options(p):
    p.add_argument("--batch", type=int, default=256, help="windows in a step")
    p.add_argument("--phases", metavar="WxB:SHARE,...",
                   help="window, batch and share of the run, instead of --window and --batch")
    p.add_argument("--join-gap", type=int, default=0, metavar="N",
                   help="windows may cross dropped stretches of up to N bases")
    p.add_argument("--steps", type=int,
                   help="default 10000, with --budget-seconds no limit")
    p.add_argument("--max-seconds", type=float, default=math.inf,
                   help="wall time from the start of the program to the last step")
    p.add_argument("--budget-seconds", type=float, default=math.inf,
                   help="training seconds over all calls")
    p.add_argument("--slice-seconds", type=float, default=math.inf,
                   help="stop after this much wall time of this call; needs --state")
    p.add_argument("--state", metavar="FILE",
                   help="save the state of the run here, and go on from it if it exists")
    p.add_argument("--disturb", type=float, default=0.08, help="share of disturbed windows")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--eval-every", type=int, default=1000, help="steps between evaluations")
    p.add_argument("--eval-seconds", type=float,
                   help="training seconds between evaluations, instead of --eval-every")
    p.add_argument("--eval-part", type=int, default=8,
                   help="evaluations on the way use every n-th window")
    p.add_argument("--final-part", type=int, default=1, help="the same for the last evaluation")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--compile", action="store_true", help="use torch.compile")
    p.add_argument("--convolution", choices=("plain", "packed"), default="plain",
                   help="packed: two sequences in one complex transform (faster; even batch)")


def add_optimizer_options(p):
    p.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw",
                   help="for the matrices of the blocks; the rest always has AdamW")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--lr-rest", type=float,
                   help="peak for all but the matrices of the blocks; default: --lr")
    p.add_argument("--beta2", type=float, default=0.98)
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--warmup", type=int, default=200)
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--schedule", choices=("cosine", "linear-decay"), default="cosine",
                   help="linear-decay: constant, then linear to zero over the last part")
    p.add_argument("--decay-share", type=float, default=0.4, help="that part")


def read_arguments():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="packed .npz from prepare_data.py")
    p.add_argument("--out", required=True, help="model directory to write")
    add_model_options(p)
    add_run_options(p)
    add_optimizer_options(p)
    args = p.parse_args()
    if args.steps is None:
        args.steps = 10000 if math.isinf(args.budget_seconds) else 10**12
    if args.phases:
        try:
            parse_phases(args.phases)
        except ValueError:
            p.error("--phases: expected WINDOWxBATCH:SHARE, separated by commas")
    if args.state and not math.isinf(args.max_seconds):
        p.error("--max-seconds is for a run in one call; with --state use --budget-seconds")
    if not args.state and not math.isinf(args.slice_seconds):
        p.error("--slice-seconds needs --state")
    if not 0 < args.decay_share <= 1:
        p.error("--decay-share is to be over 0 and up to 1")
    return args


def main():
    args = read_arguments()
    trainer = Trainer(args)
    if args.state and os.path.exists(args.state):
        trainer.load_state()
    trainer.calls += 1
    try:
        complete = trainer.run()
    except FloatingPointError as error:
        say(str(error))
        return 8
    trainer.clock.stop()
    if trainer.phase is None:
        say("nothing left to do")
        return 0
    trainer.finish(complete)
    return 0


if __name__ == "__main__":
    sys.exit(main())
