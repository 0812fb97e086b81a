"""Prints what an offline run of W&B holds as JSON, read by wandb's own reader. Usage: read_wandb.py RUN.wandb"""

import json
import sys

from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

out = {"steps": [], "summary": {}, "config": {}, "artifacts": {}, "exit": None}
store = DataStore()
store.open_for_scan(sys.argv[1])
while (data := store.scan_data()) is not None:
    record = wandb_internal_pb2.Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        out.update(id=run.run_id, project=run.project, group=run.run_group, name=run.display_name)
        out["config"].update((c.key, json.loads(c.value_json)) for c in run.config.update)
    elif kind == "history":
        values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if values["_step"] != len(out["steps"]):
            sys.exit(f"step {values['_step']} follows on {len(out['steps']) - 1}")
        out["steps"].append({name: v for name, v in values.items() if isinstance(v, (int, float))})
    elif kind == "summary":
        out["summary"].update((u.key or "/".join(u.nested_key), json.loads(u.value_json)) for u in record.summary.update)
    elif kind == "artifact":
        out["artifacts"][record.artifact.name] = {c.path: c.local_path for c in record.artifact.manifest.contents}
    elif kind == "exit":
        out["exit"] = record.exit.exit_code
json.dump(out, sys.stdout)
