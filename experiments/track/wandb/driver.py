"""Feeds one Weights & Biases run from JSON lines on stdin: what to open, then steps, then the run's end. Answers on stdout."""

import glob
import json
import os
import shutil
import signal
import sys
import threading

try:
    import fcntl
except ImportError:  # not on Unix
    fcntl = None

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then says how the run ends
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed goes where errors go


def reply(**fields):
    print(json.dumps(fields), file=replies, flush=True)


def take_over(o):
    """Waits until the client of an earlier start, whose training was killed, has ended, and removes its offline runs."""
    folder = os.path.join(o["dir"], "wandb")
    lock = open(os.path.join(folder, "lock"), "w")
    if fcntl:
        fcntl.flock(lock, fcntl.LOCK_EX)
    if o["mode"] == "offline":
        for name in glob.glob("offline-run-*-" + o["id"], root_dir=folder) + ["artifacts"]:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    return lock


def open_run(wandb, o):
    quiet = dict(  # what is shown is what we are given, not what the client finds out about machine and program
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        symlink=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        program="bmem train",
        init_timeout=o["timeout"],
    )
    online = o["mode"] == "online"
    return wandb.init(
        mode=o["mode"],
        dir=o["dir"],
        id=o["id"],
        resume="allow" if online else None,
        project=o["project"],
        group=o["group"],
        name=o["name"],
        job_type="train",
        config=o["config"],
        settings=wandb.Settings(**quiet),
    )


def end_run(wandb, run, o):
    run.summary.update(o["summary"])
    if o["files"]:
        artifact = wandb.Artifact("router-" + run.id, type="model")
        for name, path in o["files"].items():
            artifact.add_file(path, name=name)
        run.log_artifact(artifact)
    run.finish(exit_code=o["exit"])


def main():
    opening = json.loads(sys.stdin.readline())
    lock = take_over(opening)  # held until the end
    import wandb

    run = open_run(wandb, opening)
    reply(next=run.starting_step)
    for line in sys.stdin:
        message = json.loads(line)
        if "values" in message:
            run.log(message["values"], step=message["step"])
        else:
            end_run(wandb, run, message)
            reply()
            return
    # The training has gone, or gives up on us: keep what there is, and do not stay.
    patience = threading.Timer(opening["timeout"], os._exit, [1])
    patience.daemon = True
    patience.start()
    run.finish(exit_code=1)


try:
    main()
except Exception as e:
    reply(error=f"{type(e).__name__}: {e}")
    sys.exit(1)
