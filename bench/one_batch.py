#!/usr/bin/env python3
"""Every task of Long Range Arena with every attention: 20 steps on one fixed batch at the task's nominal length.

  bench/one_batch.py --imdb DIR --image DIR            DIR as train_lra takes it for --task text (tsv form) and image
  bench/one_batch.py ... --tasks text,image            some tasks; --attentions softmax,nystrom: some attentions
  bench/one_batch.py ... --out DIR                     where results go; else build/one_batch
  bench/one_batch.py ... --bin DIR                     with train_lra and make_data; else build/release/bin
  bench/one_batch.py ... --threads N                   else one per processor

A batch is drawn from the training set once (--train-samples) and shown at every step, without dropout, padded to the
nominal length. The loss of step 20 is that of the parameters after 19 updates; at most half of the first is asked for.
ListOps, Pathfinder and Path-X are made by make_data. `retrieval` reads film reviews, as same-film pairs written in the
form of LRA's files, which are not public; `custom` reads film reviews in its own form. Each run is a process of its
own; its peak contains the whole data set. Writes one_batch.json and one_batch.md, and ends with status 1 when a loss is
not halved or a run fails.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = 20
ATTENTIONS = ["softmax", "nystrom", "fsat", "paramixer", "combiner"]
# Task: positions of a batch, samples of it, which of the given folders it reads ("": made here).
TASKS = {
    "listops": (2048, 4, ""),
    "text": (4096, 4, "imdb"),
    "retrieval": (4096, 4, "imdb"),
    "image": (1024, 8, "image"),
    "pathfinder": (1024, 8, ""),
    "path-x": (16384, 4, ""),
    "imdb-pairs": (4096, 4, "imdb"),
    "custom": (4096, 4, "imdb"),
}
# The two-layer model of 64 features that has been published for all tasks (Xiong et al. 2021), whatever the attention.
MODEL = ["--model", "encoder", "--layers", "2", "--width", "64", "--feed-forward", "128",
         "--head-hidden", "128", "--dropout", "0", "--attention-dropout", "0"]
TRAINING = ["--steps", str(STEPS), "--learning-rate", "0.003", "--schedule", "constant", "--log-every", "1",
            "--validation-samples", "1", "--test-samples", "1", "--evaluate-every", str(STEPS),
            "--checkpoint-every", str(STEPS)]


def mechanism(attention, positions):
    """Paramixer has one head, and from 2^14 positions on the fixed residual, as in its paper: the running one grows."""
    if attention != "paramixer":
        return ["--heads", "2"]
    return ["--heads", "1"] + (["--residual", "fixed"] if positions >= 1 << 14 else [])


def stop(text):
    sys.exit("one_batch: " + text)


def make_data(bin_dir, task, folder):
    count = {"listops": "600", "pathfinder": "200", "path-x": "40"}[task]
    subprocess.run([os.path.join(bin_dir, "make_data"), "--task", task, "--count", count, "--out", folder],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def reviews(folder, name, most):
    """[(label, film, text)] of the first rows of a tsv."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        stop("--imdb %s: there is no %s" % (folder, name))
    rows = []
    with open(path, "rb") as file:
        for line in file:
            label, _rating, _number, film, text = line.rstrip(b"\r\n").split(b"\t", 4)
            rows.append((label, film, text.replace(b"\t", b" ")))
            if len(rows) == most:
                break
    return rows


def write_pairs(folder, imdb):
    """LRA's form of Retrieval: label, id, id, text, text; the label says whether both reviews are of one film."""
    os.makedirs(folder)
    sets = {"train": reviews(imdb, "imdb_train.tsv", 2000), "eval": reviews(imdb, "imdb_train.tsv", 4000)[2000:],
            "test": reviews(imdb, "imdb_test.tsv", 2000)}
    for name, rows in sets.items():
        films = {}
        for number, (_label, film, _text) in enumerate(rows):
            films.setdefault(film, []).append(number)
        groups = [numbers for numbers in films.values() if len(numbers) > 1]
        with open(os.path.join(folder, "new_aan_pairs.%s.tsv" % name), "wb") as out:
            for i, numbers in enumerate(groups):
                other = groups[(i + 1) % len(groups)][1]
                for label, second in ((b"1.0", numbers[1]), (b"0.0", other)):
                    out.write(b"\t".join([label, b"%d" % numbers[0], b"%d" % second, rows[numbers[0]][2],
                                          rows[second][2]]) + b"\n")


def write_custom(folder, imdb):
    os.makedirs(folder)
    train = reviews(imdb, "imdb_train.tsv", 2000)
    sets = {"train": train[:1500], "val": train[1500:], "test": reviews(imdb, "imdb_test.tsv", 500)}
    for name, rows in sets.items():
        with open(os.path.join(folder, name + ".tsv"), "wb") as out:
            for label, _film, text in rows:
                out.write((b"positive" if label == b"1" else b"negative") + b"\t" + text + b"\n")


def data_folder(task, arguments, scratch):
    given = TASKS[task][2]
    if given and not getattr(arguments, given):
        stop("--task %s needs --%s DIR" % (task, given))
    if task in ("text", "imdb-pairs"):
        return arguments.imdb
    if task == "image":
        return arguments.image
    folder = os.path.join(scratch, task)
    if not os.path.exists(folder):
        if task == "retrieval":
            write_pairs(folder, arguments.imdb)
        elif task == "custom":
            write_custom(folder, arguments.imdb)
        else:
            make_data(arguments.bin, task, folder)
    return folder


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def measure(task, attention, data, arguments, scratch):
    positions, samples, _ = TASKS[task]
    run = os.path.join(scratch, "run")
    shutil.rmtree(run, ignore_errors=True)
    command = [os.path.join(arguments.bin, "train_lra"), "--task", task, "--attention", attention, "--data", data,
               "--out", run, "--max-length", str(positions), "--pad-to", str(positions), "--batch-size", str(samples),
               "--train-samples", str(samples), "--threads", str(arguments.threads)]
    command += MODEL + mechanism(attention, positions) + TRAINING
    begin = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print("%s, %s failed:\n%s" % (task, attention, done.stderr), file=sys.stderr)
        return None
    records = lines(os.path.join(run, "metrics.jsonl"))
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    speed = [record for record in lines(os.path.join(run, "timing.jsonl")) if record["kind"] == "speed"][-1]
    shutil.rmtree(run)
    return {"task": task, "attention": attention, "positions": positions, "samples": samples,
            "parameters": records[0]["parameters"], "losses": losses, "ratio": losses[-1] / losses[0],
            "tokens_per_second": speed["tokens_per_second"], "tensor_mib": speed["peak_bytes"] / 2**20,
            "process_mib": speed["process_bytes"] / 2**20, "seconds": time.time() - begin,
            "command": " ".join(["train_lra"] + command[1:]).replace(data, "DATA").replace(run, "RUN")}


HEAD = ("| task | attention | N | samples | parameters | loss 1 | loss 20 | ratio | tokens/s | tensors MiB | process MiB |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|")


def row(found):
    return "| %s | %s | %d | %d | %d | %.4f | %.4f | %.3f | %.0f | %.0f | %.0f |" % (
        found["task"], found["attention"], found["positions"], found["samples"], found["parameters"],
        found["losses"][0], found["losses"][-1], found["ratio"], found["tokens_per_second"], found["tensor_mib"],
        found["process_mib"])


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%d x %s" % (len(names), names[0] if names else platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imdb")
    parser.add_argument("--image")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--attentions", default=",".join(ATTENTIONS))
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "one_batch"))
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "release", "bin"))
    arguments = parser.parse_args()
    tasks, attentions = arguments.tasks.split(","), arguments.attentions.split(",")
    for name, legal in [(task, TASKS) for task in tasks] + [(attention, ATTENTIONS) for attention in attentions]:
        if name not in legal:
            stop("'%s', expected one of %s" % (name, ", ".join(legal)))
    scratch = os.path.join(arguments.out, "scratch")
    os.makedirs(scratch, exist_ok=True)
    folders = {task: data_folder(task, arguments, scratch) for task in tasks}  # what is missing is said at once
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True)
    result = {"commit": commit.stdout.strip(), "processor": processor(), "steps": STEPS, "runs": []}
    table = [HEAD]
    print(HEAD, flush=True)
    failed = 0
    for task in tasks:
        for attention in attentions:
            found = measure(task, attention, folders[task], arguments, scratch)
            if found is None:
                failed += 1
                continue
            result["runs"].append(found)
            table.append(row(found))
            print(table[-1], flush=True)
            with open(os.path.join(arguments.out, "one_batch.json"), "w") as out:  # what there is, if it ends early
                json.dump(result, out, indent=1)
            with open(os.path.join(arguments.out, "one_batch.md"), "w") as out:
                out.write("\n".join(table) + "\n")
    worse = [found for found in result["runs"] if not found["ratio"] <= 0.5]
    print("%d of %d runs at least halved their loss; %d failed" %
          (len(result["runs"]) - len(worse), len(result["runs"]), failed))
    return 1 if worse or failed else 0


if __name__ == "__main__":
    sys.exit(main())
