"""Drives the kernel as a front end does, for a test: from stdin come lines of JSON, each is answered with one.

Arguments: the folder that the kernel works in.

    {"run": SOURCE, "interrupt": SECONDS?}  ->  {"status", "error", "traceback", "text", "mimes", "seconds", "interrupted"}
    {"complete": SOURCE, "at": POSITION}    ->  {"matches", "seconds"}
    {"inspect": SOURCE, "at": POSITION}     ->  {"text", "seconds"}
    {"pid": true}                           ->  {"pid"}, of what Jupyter has started

"interrupt" interrupts the cell so many seconds after it began; "interrupted" is how long it went on then. The end of stdin ends
the kernel.
"""

import json
import sys
import threading
import time

from jupyter_client.manager import KernelManager


def run(manager, client, command):
    texts, mimes, error = [], [], {}

    def output(message):
        content = message["content"]
        if message["msg_type"] == "stream":
            texts.append(content["text"])
        elif message["msg_type"] in ("display_data", "execute_result"):
            mimes.extend(content["data"])
        elif message["msg_type"] == "error":
            error.update(content)

    start = time.monotonic()
    timer = None
    if "interrupt" in command:
        timer = threading.Timer(command["interrupt"], manager.interrupt_kernel)
        timer.start()
    reply = client.execute_interactive(command["run"], output_hook=output, timeout=600)
    seconds = time.monotonic() - start
    if timer:
        timer.cancel()
    return {
        "status": reply["content"]["status"], "error": error.get("evalue", ""), "traceback": "\n".join(error.get("traceback", [])),
        "text": "".join(texts), "mimes": mimes, "seconds": seconds, "interrupted": seconds - command.get("interrupt", seconds),
    }


def main(folder):
    manager = KernelManager(kernel_name="budgetmem")
    manager.start_kernel(cwd=folder)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        for line in sys.stdin:
            command = json.loads(line)
            start = time.monotonic()
            if "run" in command:
                answer = run(manager, client, command)
            elif "complete" in command:
                content = client.complete(command["complete"], command["at"], reply=True, timeout=120)["content"]
                answer = {"matches": content["matches"], "seconds": time.monotonic() - start}
            elif "inspect" in command:
                content = client.inspect(command["inspect"], command["at"], reply=True, timeout=120)["content"]
                answer = {"text": "".join(content["data"].values()), "seconds": time.monotonic() - start}
            else:
                answer = {"pid": manager.provisioner.pid}
            print(json.dumps(answer), flush=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


main(sys.argv[1])
