#!/usr/bin/env python3
"""Fine-tune a whole HyenaDNA model, with a classifier head on it, for labelled sequences.

The output directory is a model directory (config.json, model.safetensors) that holds its head
(head.json, head.safetensors; format crocuta-head-1).  The best epoch of the best seed, both by
the validation part alone (AUROC with two classes, else accuracy), is kept, then one temperature
is fitted on the validation part and folded into the head.  Figures are of float32 with filters
from float64.

    finetune.py MODEL_DIR --train train.csv --valid dev.csv --test test.csv --out DIR
    finetune.py MODEL_DIR --train train.bed --valid valid.bed --test test.bed --fasta x.fa --out DIR
    finetune.py MODEL_DIR --bed all.bed --fasta x.fa --valid-regions X:50000000-60000000 \\
        --test-regions 20:50000000- --out DIR
    finetune.py MODEL_DIR --train no=a.fa yes=b.fa --valid-share 0.1 --background no --out DIR
    finetune.py --evaluate-only DIR --test test.csv
"""

import argparse
import copy
import math
import os
import random
import sys
import time

sys.dont_write_bytecode = True
START = time.time()

import numpy as np
import torch
import torch.nn.functional as F

import labelled
from convolution import compiled_conv, fast_conv
from head import (POOLS, STRANDS, Form, Head, fixed_filters, flip, read_head, sha256_of, vectors_of,
                  write_head)
from hyenadna import PAD, HyenaDNA, HyenaMixer
from metrics import fit_temperature, measure, one_line, softmax, table_lines


def say(text):
    print("%7.1f s  %s" % (time.time() - START, text), flush=True)


# ------------------------------------------------------------------------ data


class Part:
    """One part of the data on the device."""

    def __init__(self, examples, classes, device):
        number = {name: k for k, name in enumerate(classes)}
        for label in examples.labels:
            if label not in number:
                raise ValueError("class %s has no example to train on" % label)
        self.examples, self.flank = examples, examples.flank
        self.label = np.array([number[label] for label in examples.labels], dtype=np.int64)
        self.size = np.array([examples.length(i) for i in range(len(examples))], dtype=np.int64)
        self.tokens = torch.from_numpy(labelled.token_matrix(examples)).to(device)
        self.labels = torch.from_numpy(self.label).to(device)
        self.lengths = torch.from_numpy(self.size).to(device)

    def __len__(self):
        return len(self.label)

    def rows(self, index, width, shift=0, flips=0.0):
        """ids (B, width) and lengths; shifted by up to `shift` bases, a share `flips` of the
        rows reverse-complemented."""
        lengths = self.lengths[index]
        at = torch.arange(width, device=index.device)
        start = torch.full_like(lengths, self.flank)
        if shift:
            start = start + torch.randint(-shift, shift + 1, lengths.shape, device=index.device)
        place = (start[:, None] + at).clamp(max=self.tokens.shape[1] - 1)
        ids = self.tokens[index].long().gather(1, place)
        ids = torch.where(at < lengths[:, None], ids, torch.full_like(ids, PAD))
        if flips:
            turn = torch.rand(lengths.shape, device=index.device) < flips
            ids = torch.where(turn[:, None], flip(ids, lengths), ids)
        return ids, lengths


def epoch_batches(part, batch, rng):
    """Random batches of similar lengths; what is left over waits for another epoch."""
    order = rng.permutation(len(part))
    batch = min(batch, len(order))
    if part.size.min() != part.size.max():
        chunks = [order[i : i + 50 * batch] for i in range(0, len(order), 50 * batch)]
        order = np.concatenate([c[np.argsort(part.size[c], kind="stable")] for c in chunks])
    batches = [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]
    rng.shuffle(batches)
    return batches


def evaluate_logits(model, head, form, part, device):
    """(n, classes) in float32, in the part's order."""
    vectors = vectors_of(model, form.layer)
    order = np.argsort(-part.size, kind="stable")
    tokens = 2 ** 18 if device.type == "cuda" else 2 ** 14
    out = None
    with torch.no_grad(), fixed_filters(model, int(part.size.max())):
        i = 0
        while i < len(order):
            width = int(part.size[order[i]])
            pick = torch.from_numpy(order[i : i + max(1, tokens // width)].copy()).to(device)
            ids, lengths = part.rows(pick, width)
            logits = head(form.features(vectors, ids, lengths)).double()
            if out is None:
                out = torch.empty(len(part), logits.shape[1], dtype=torch.float64, device=device)
            out[pick] = logits
            i += len(pick)
    return out.cpu().numpy()


def probabilities(logits, output="softmax"):
    return softmax(logits) if output == "softmax" else 1 / (1 + np.exp(-logits))


# -------------------------------------------------------------------- training


class Step:
    """One optimizer step on a batch of row numbers; on a GPU optionally as a CUDA graph.

    A graph needs batches of one shape.  The first three steps run as usual, on a stream of
    their own, as capturing asks for; then the step is captured once and replayed."""

    def __init__(self, model, head, form, part, optimizer, args, device):
        self.model, self.head, self.form, self.part = model, head, form, part
        self.optimizer, self.args, self.device = optimizer, args, device
        self.graphs = args.graphs and part.size.min() == part.size.max()
        self.vectors = vectors_of(model, form.layer)
        if args.compile:
            self.vectors = torch.compile(self.vectors)
        self.parameters = [p for g in optimizer.param_groups for p in g["params"]]
        self.count, self.graph, self.index, self.loss = 0, None, None, None

    def work(self, index, width):
        args = self.args
        ids, lengths = self.part.rows(index, width, args.shift, 0.5 if args.rc else 0.0)
        with torch.autocast(device_type=self.device.type, dtype=torch.bfloat16,
                            enabled=self.device.type == "cuda", cache_enabled=not self.graphs):
            features = self.form.features(self.vectors, ids, lengths)
        features = F.dropout(features.float(), args.dropout)
        loss = F.cross_entropy(self.head(features), self.part.labels[index],
                               label_smoothing=args.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, args.clip)
        self.optimizer.step()
        return loss.detach()

    def capture(self, width):
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.loss = self.work(self.index, width)
            self.graph = graph
        except RuntimeError as error:
            say("no CUDA graph (%s); going on without" % str(error).split("\n")[0])
            torch.cuda.synchronize()
            self.graphs = False

    def __call__(self, batch):
        """The loss, still on the device."""
        index = torch.from_numpy(batch).to(self.device)
        width = int(self.part.size[batch].max())
        self.count += 1
        if self.graphs and self.count == 4:
            self.index = index.clone()
            self.capture(width)
        if self.graph is not None:
            self.index.copy_(index)
            self.graph.replay()
            return self.loss.clone()
        self.optimizer.zero_grad(set_to_none=True)
        if not self.graphs:
            return self.work(index, width)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            loss = self.work(index, width)
        torch.cuda.current_stream().wait_stream(side)
        return loss


def make_optimizer(model, head, args, device):
    """Groups know their peak learning rate; no decay on filters, norms, biases, embeddings."""
    dense, rest = [], []
    for name, value in model.backbone.named_parameters():
        matrix = name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))
        (dense if matrix else rest).append(value)
    groups = [{"params": dense, "weight_decay": args.weight_decay, "peak": args.lr},
              {"params": rest, "weight_decay": 0.0, "peak": args.lr},
              {"params": list(head.parameters()), "weight_decay": args.weight_decay,
               "peak": args.lr_head}]
    options = {}
    if device.type == "cuda":
        options = {"fused": True, "capturable": args.graphs}
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, args.beta2), **options)
    if args.graphs:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["peak"]), device=device)
    return optimizer


def set_rates(optimizer, factor):
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(group["peak"] * factor)
        else:
            group["lr"] = group["peak"] * factor


def better(a, b):
    """Is the validation record a better than b?  The loss decides between equal scores."""
    return b is None or (a["score"], -a["log_loss"]) > (b["score"], -b["log_loss"])


def train_seed(base, form, parts, classes, seed, seconds, args, device):
    """One run from the pretrained model; the best epoch's record, model and head."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    model = copy.deepcopy(base).to(device).train()
    head = Head(form.columns(model.cfg.d_model), len(classes)).to(device)
    model.lm_head.weight.requires_grad_(False)
    optimizer = make_optimizer(model, head, args, device)
    step = Step(model, head, form, parts["train"], optimizer, args, device)
    per_epoch = len(epoch_batches(parts["train"], args.batch, np.random.RandomState(0)))
    total = per_epoch * args.epochs
    warmup = max(1, round(args.warmup * total))
    begin, best, kept, done, history = time.time(), None, None, 0, []
    for epoch in range(1, args.epochs + 1):
        losses = []
        for batch in epoch_batches(parts["train"], args.batch, rng):
            progress = max(done / total, (time.time() - begin) / seconds)
            if progress >= 1:
                break
            set_rates(optimizer, min(1.0, (done + 1) / warmup) * (1 - progress))
            losses.append(step(batch))
            done += 1
        if not losses:
            break
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise ValueError("the loss is not finite; try a lower --lr")
        m = measure(softmax(evaluate_logits(model, head, form, parts["valid"], device)),
                    parts["valid"].label)
        score = m["auroc"] if len(classes) == 2 else m["accuracy"]
        record = {"seed": seed, "epoch": epoch, "steps": done, "train_loss": round(loss, 5),
                  "score": score, "log_loss": m["log_loss"]}
        history.append(record)
        say("seed %d epoch %d  loss %.4f  valid %s" % (seed, epoch, loss, one_line(m)))
        if better(record, best):
            best = record
            kept = (copy.deepcopy(model.state_dict()), copy.deepcopy(head.state_dict()))
        elif epoch - best["epoch"] >= args.patience:
            break
    if best is None:
        raise ValueError("no time for a single step")
    model.load_state_dict(kept[0])
    head.load_state_dict(kept[1])
    return best, model.eval(), head.eval(), history


def train_seeds(base, form, parts, classes, args, device):
    """All seeds, each with its share of the time left; the best on the validation part."""
    best, records = None, []
    for i, seed in enumerate(args.seeds):
        left = START + args.max_seconds - time.time()
        if best is not None and left <= 1:
            say("no time for seed %d" % seed)
            break
        got = train_seed(base, form, parts, classes, seed, max(left, 1) / (len(args.seeds) - i),
                         args, device)
        records += got[3]
        if best is None or better(got[0], best[0]):
            best = got
    return best[0], best[1], best[2], records


# ----------------------------------------------------------------------- input


def limited(examples, count):
    """A fixed random choice of `count` examples."""
    keep = list(range(len(examples)))
    random.Random(0).shuffle(keep)
    return examples.pick(sorted(keep[:count])) if count else examples


def read_parts(args):
    """{"train", "valid", "test"} of Examples, and how they were told apart."""
    contigs = labelled.read_contigs(args.fasta) if args.fasta else None
    sets, split = {"test": None}, "files"
    if args.bed:
        everything = labelled.read_examples(args.bed, contigs, args.shift)
        valid = [labelled.parse_region(r) for r in args.valid_contigs + args.valid_regions]
        test = [labelled.parse_region(r) for r in args.test_contigs + args.test_regions]
        sets["train"], sets["valid"], chosen = labelled.split_by_regions(everything, valid, test)
        split = "regions: valid %s; test %s" % (
            " ".join(args.valid_contigs + args.valid_regions) or "none",
            " ".join(args.test_contigs + args.test_regions) or "none")
        sets["test"] = chosen if len(chosen) else None
    else:
        sets["train"] = labelled.read_examples(args.train, contigs, args.shift)
        if args.valid:
            sets["valid"] = labelled.read_examples(args.valid, contigs, args.shift)
    if args.test:
        sets["test"] = labelled.read_examples(args.test, contigs, args.shift)
    if args.valid_share and not args.valid:
        sets["train"], sets["valid"] = labelled.split_by_hash(sets["train"], args.valid_share)
        split = "valid: a share of %g by hash of the sequence" % args.valid_share
    return {k: limited(v, args.limit) if v is not None else None for k, v in sets.items()}, split


def rename(sets, pairs):
    names = dict(p.partition("=")[::2] for p in pairs)
    for examples in sets.values():
        if examples is not None:
            examples.labels = [names.get(label, label) for label in examples.labels]


def check_lengths(parts, form, longest):
    for name, part in parts.items():
        if part.size.max() > longest:
            raise ValueError("%s: a sequence of %d bases; the model reads %d" % (
                name, part.size.max(), longest))
        if part.size.min() < form.shortest():
            raise ValueError("%s: a sequence of %d bases is too short for %d parts" % (
                name, part.size.min(), form.parts))


def counts_of(part, classes):
    out = {"examples": len(part)}
    out.update({name: int((part.label == k).sum()) for k, name in enumerate(classes)})
    return out


# ---------------------------------------------------------------------- output


def report(name, p, part):
    m = measure(p, part.label)
    say("%s: %s" % (name, one_line(m)))
    for line in table_lines(m):
        print(line)
    return m


def write_probabilities(path, p, part, classes):
    """name, class, and a probability a class with nine digits, in the input's order."""
    with open(path, "w") as f:
        f.write("#name\tlabel\t%s\n" % "\t".join("p_" + c for c in classes))
        for i, name in enumerate(part.examples.names):
            f.write("%s\t%s\t%s\n" % (name, part.examples.labels[i],
                                      "\t".join("%.9g" % v for v in p[i])))


def describe_run(args, sets, parts, classes, split, dropped):
    files = {k: [labelled.short_path(x) for x in getattr(args, k)]
             for k in ("bed", "train", "valid", "test") if getattr(args, k)}
    options = ("pool", "parts", "strands", "epochs", "batch", "lr", "lr_head", "weight_decay",
               "beta2", "warmup", "dropout", "label_smoothing", "clip", "rc", "shift", "patience",
               "seeds", "limit")
    return {
        "files": files, "split": split,
        "counts": {k: counts_of(v, classes) for k, v in parts.items()},
        "train_dropped_as_in_valid_or_test": dropped,
        "valid_also_in_test": labelled.without(sets["valid"], [sets["test"]])[1]
        if sets["test"] else 0,
        "options": {k: getattr(args, k) for k in options},
        "torch": torch.__version__,
    }


def finish(model, head, form, parts, classes, args, training, device):
    """Temperature, files, figures."""
    if not args.no_temperature:
        logits = evaluate_logits(model, head, form, parts["valid"], device)
        training["temperature"] = fit_temperature(logits, parts["valid"].label)
        head.cool(training["temperature"])
        say("temperature %.4f" % training["temperature"])
    model.save(args.out)
    model_file = os.path.join(args.out, "model.safetensors")
    training["metrics"] = {}
    for name in ("valid", "test"):
        if name in parts:
            p = softmax(evaluate_logits(model, head, form, parts[name], device))
            training["metrics"][name] = report(name, p, parts[name])
            if name == "test" and args.probabilities:
                write_probabilities(args.probabilities, p, parts[name], classes)
    training["seconds"] = round(time.time() - START, 1)
    lengths = parts["train"].size
    window = args.scan_window
    if window is None:
        window = int(lengths[0]) if lengths.min() == lengths.max() else 0
    step = args.scan_step if args.scan_step is not None else -(-window // 8)
    # With one part the mean of both strands is the same for a sequence and its reverse complement.
    one_pass = form.strands == "both" and form.parts == 1
    write_head(args.out, head, {
        "backbone": {"name": args.name or os.path.basename(os.path.normpath(args.out)),
                     "sha256": sha256_of(model_file)},
        "classes": classes, "background": args.background,
        "layer": form.layer, "pool": form.pool, "parts": form.parts, "strands": form.strands,
        "special_tokens": "none", "hidden": 0, "output": "softmax",
        "window": window, "step": step,
        "scan_strands": args.scan_strands or ("forward" if one_pass else "both"),
        "training": training,
    })
    say("wrote %s" % args.out)


def run_training(args, device):
    sets, split = read_parts(args)
    if not sets.get("valid"):
        raise ValueError("no validation part: give --valid, --valid-share, or regions for it")
    rename(sets, args.names)
    others = [v for v in (sets["valid"], sets["test"]) if v is not None]
    sets["train"], dropped = labelled.without(sets["train"], others)
    classes = labelled.class_order(sets["train"].labels, args.background)
    labelled.check_class_names(classes)
    parts = {k: Part(v, classes, device) for k, v in sets.items() if v is not None}
    base = HyenaDNA.load(args.model)
    form = Form(base.cfg.n_layer, args.pool, args.parts, args.strands)
    check_lengths(parts, form, base.cfg.max_seq_len)
    training = describe_run(args, sets, parts, classes, split, dropped)
    training["from"] = {"name": os.path.basename(os.path.normpath(args.model)),
                        "sha256": sha256_of(os.path.join(args.model, "model.safetensors"))}
    training["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    say("%s on %s" % ("; ".join("%s %d" % (k, len(v)) for k, v in parts.items()),
                      training["device"]))
    say("classes %s; %d training sequences dropped, being in another part too" % (
        " ".join(classes), dropped))
    HyenaMixer.convolve = staticmethod(compiled_conv() if args.compile else fast_conv)
    best, model, head, records = train_seeds(base, form, parts, classes, args, device)
    say("kept seed %d, epoch %d" % (best["seed"], best["epoch"]))
    training.update(seed=best["seed"], epoch=best["epoch"], history=records)
    finish(model, head, form, parts, classes, args, training, device)


def run_evaluation(args, device):
    directory = args.evaluate_only
    model_dir = args.model or directory
    record, form, head = read_head(directory, os.path.join(model_dir, "model.safetensors"))
    model = HyenaDNA.load(model_dir).to(device)
    contigs = labelled.read_contigs(args.fasta) if args.fasta else None
    test = labelled.read_examples(args.test, contigs)
    rename({"test": test}, args.names)
    part = Part(limited(test, args.limit), record["classes"], device)
    check_lengths({"test": part}, form, model.cfg.max_seq_len)
    logits = evaluate_logits(model, head.to(device), form, part, device)
    p = probabilities(logits, record.get("output", "softmax"))
    report("test", p, part)
    if args.probabilities:
        write_probabilities(args.probabilities, p, part, record["classes"])
    if args.export_fasta:
        part.examples.write_fasta(args.export_fasta)


def parse_arguments():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", nargs="?", help="pretrained model directory")
    p.add_argument("--out", help="directory to write")
    p.add_argument("--evaluate-only", metavar="DIR",
                   help="measure DIR, which holds a head, on --test; with MODEL as its backbone, "
                        "else its own")
    g = p.add_argument_group(
        "data", "INPUT is FILE.csv, FILE.tsv, FILE.bed or CLASS=FILE.fa, or .gz of them")
    for name in ("train", "valid", "test"):
        g.add_argument("--" + name, nargs="+", metavar="INPUT", default=[])
    g.add_argument("--bed", nargs="+", metavar="FILE", default=[],
                   help="regions that the next four options split; the rest is for training")
    for name in ("valid", "test"):
        g.add_argument("--%s-contigs" % name, nargs="+", metavar="NAME", default=[])
        g.add_argument("--%s-regions" % name, nargs="+", metavar="CONTIG:FROM-TO", default=[],
                       help="0-based, half-open; regions across an edge are left out")
    g.add_argument("--valid-share", type=float, default=0.0,
                   help="take this share of --train for validation, by hash of the sequence")
    g.add_argument("--fasta", nargs="+", metavar="FILE", help="sequence of the regions")
    g.add_argument("--names", nargs="+", metavar="OLD=NEW", default=[], help="rename classes")
    g.add_argument("--background", metavar="CLASS", help="the class that is no call; comes first")
    g.add_argument("--limit", type=int, default=0, help="use so many examples of each part")
    g = p.add_argument_group("head")
    g.add_argument("--pool", choices=POOLS, default="mean")
    g.add_argument("--parts", type=int, default=1)
    g.add_argument("--strands", choices=STRANDS, default="forward")
    g.add_argument("--no-temperature", action="store_true")
    g.add_argument("--name", help="of the fine-tuned model; default: that of --out")
    g.add_argument("--scan-window", type=int, help="default: the length, if all have the same")
    g.add_argument("--scan-step", type=int, help="default: an eighth of the window")
    g.add_argument("--scan-strands", choices=("both", "forward"),
                   help="default: both, but forward with --strands both and one part")
    g = p.add_argument_group("training")
    g.add_argument("--epochs", type=int, default=8)
    g.add_argument("--batch", type=int, default=128)
    g.add_argument("--lr", type=float, default=3e-4, help="peak, of the model")
    g.add_argument("--lr-head", type=float, default=2e-3, help="peak, of the head")
    g.add_argument("--beta2", type=float, default=0.99)
    g.add_argument("--weight-decay", type=float, default=0.1)
    g.add_argument("--warmup", type=float, default=0.1, help="share of all steps")
    g.add_argument("--dropout", type=float, default=0.1, help="of the pooled vector")
    g.add_argument("--label-smoothing", type=float, default=0.0)
    g.add_argument("--clip", type=float, default=1.0)
    g.add_argument("--rc", action="store_true", help="reverse-complement half of the rows")
    g.add_argument("--shift", type=int, default=0, help="shift BED windows by up to so many bases")
    g.add_argument("--patience", type=int, default=3, help="epochs without a better validation")
    g.add_argument("--seeds", type=int, nargs="+", default=[1])
    g.add_argument("--max-seconds", type=float, default=1e9,
                   help="wall time until training ends, its learning rate at zero; the seeds "
                        "share it")
    g.add_argument("--compile", action="store_true", help="use torch.compile")
    g.add_argument("--graphs", action="store_true",
                   help="replay steps as a CUDA graph, if all sequences have one length")
    g.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    g = p.add_argument_group("output")
    g.add_argument("--probabilities", metavar="FILE", help="of the test part, as TSV")
    g.add_argument("--export-fasta", metavar="FILE",
                   help="with --evaluate-only: write the test sequences as read")
    args = p.parse_args()
    if args.evaluate_only:
        if not args.test:
            p.error("--evaluate-only needs --test")
    elif not args.model or not args.out or bool(args.train) == bool(args.bed):
        p.error("MODEL, --out and either --train or --bed are needed")
    args.graphs = args.graphs and torch.device(args.device).type == "cuda"
    return args


def main():
    args = parse_arguments()
    device = torch.device(args.device)
    try:
        if args.evaluate_only:
            run_evaluation(args, device)
        else:
            run_training(args, device)
    except (ValueError, OSError) as error:
        print("finetune: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
