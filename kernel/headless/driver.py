"""Runs cells in a Jupyter kernel for a parent that talks to it by lines of JSON, and ends with it.

Arguments: the kernel's name and the folder that it works in. From stdin come {"execute": SOURCE} and {"interrupt": true};
its end, with which the parent's death comes too, ends the kernel. To stdout go

    {"event": "started", "group": N}           the kernel's process group
    {"event": "ready"}                         the kernel takes cells
    {"event": "output", "output": {...}}       an output of the running cell, as it comes
    {"event": "done", "count": N, "outputs": {"K": [...]}}    the cell has ended; the outputs that changed, also of an earlier
                                               cell, by the cell's number in the order of execution, from 0
    {"event": "failed", "error": TEXT, "outputs": {"K": [...]}}    nothing more will come
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys

import nbformat.v4
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient

# The kernel inherits stdout, so events go to a copy of it that the kernel does not have.
events = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


def tell(event, **content):
    print(json.dumps({"event": event, **content}), file=events, flush=True)


class Client(NotebookClient):
    """Tells outputs as they come, and writes what follows on a stream to the output that holds its beginning."""

    changed = frozenset()  # the numbers of the cells with outputs that are not told yet

    def output(self, outs, msg, display_id, cell_index):
        before = outs[-1] if outs else None
        out = super().output(outs, msg, display_id, cell_index)
        if out is None:
            return None
        tell("output", output=out)
        if before in outs and out.output_type == before.output_type == "stream" and out.name == before.name:
            before.text += outs.pop().text
        return out

    def process_message(self, msg, cell, cell_index):
        shown = (msg["content"].get("transient") or {}).get("display_id")
        self.changed |= self._display_id_map.get(shown, {}).keys()
        return super().process_message(msg, cell, cell_index)

    def outputs(self):
        return {i: self.nb.cells[i].outputs for i in sorted(self.changed)}


async def run(client, folder, commands):
    """Starts the kernel, runs what commands bring, and ends the kernel."""
    group = None
    try:
        await client.async_start_new_kernel(cwd=folder)
        group = os.getpgid(client.km.provisioner.pid)
        tell("started", group=group)
        await client.async_start_new_kernel_client()
        tell("ready")
        while True:
            cell = nbformat.v4.new_code_cell(await commands.get())
            client.nb.cells.append(cell)
            client.changed = frozenset([len(client.nb.cells) - 1])
            await client.async_execute_cell(cell, len(client.nb.cells) - 1)
            tell("done", count=cell.execution_count, outputs=client.outputs())
    except NoSuchKernel as e:
        tell("failed", error=f"Jupyter knows no kernel {e.name}", outputs={})
    except Exception as e:
        tell("failed", error=str(e) or type(e).__name__, outputs=client.outputs())
    finally:
        if group is not None:
            try:
                await asyncio.wait_for(client.km.shutdown_kernel(), 10)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)  # what the kernel started and left


async def listen(lines, commands, km):
    """Passes on what the parent says, until it has nothing more to say."""
    async for line in lines:
        command = json.loads(line)
        if "execute" in command:
            commands.put_nowait(command["execute"])
        else:
            await km.interrupt_kernel()


async def main(name, folder):
    logging.disable(logging.CRITICAL)  # what goes wrong is told
    lines, commands = asyncio.StreamReader(limit=1 << 30), asyncio.Queue()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    client = Client(nbformat.v4.new_notebook(), kernel_name=name, allow_errors=True, iopub_timeout=60, startup_timeout=120)
    tasks = [asyncio.create_task(task) for task in (run(client, folder, commands), listen(lines, commands, client.create_kernel_manager()))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


asyncio.run(main(*sys.argv[1:]))
