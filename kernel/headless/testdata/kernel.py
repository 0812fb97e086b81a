"""A Jupyter kernel for tests: its cells are Python with send(message type, content), out(text) and err(text)."""

import json
import sys
import threading

import zmq
from jupyter_client.session import Session

with open(sys.argv[1]) as file:
    connection = json.load(file)
session = Session(key=connection["key"].encode(), signature_scheme=connection["signature_scheme"])
context = zmq.Context()


def bind(kind, name):
    socket = context.socket(kind)
    socket.bind(f"{connection['transport']}://{connection['ip']}:{connection[name + '_port']}")
    return socket


shell, control, stdin, iopub = bind(zmq.ROUTER, "shell"), bind(zmq.ROUTER, "control"), bind(zmq.ROUTER, "stdin"), bind(zmq.PUB, "iopub")
heart = bind(zmq.REP, "hb")
threading.Thread(target=lambda: zmq.device(zmq.QUEUE, heart, heart), daemon=True).start()
request, count = None, 0


def send(kind, content):
    session.send(iopub, kind, content, parent=request)


def out(text):
    send("stream", {"name": "stdout", "text": text})


def err(text):
    send("stream", {"name": "stderr", "text": text})


def show(**forms):
    send("display_data", {"data": {name.replace("_", "/"): form for name, form in forms.items()}, "metadata": {}})


def execute(code):
    try:
        exec(code, globals())
    except BaseException as e:
        failure = {"ename": type(e).__name__, "evalue": str(e), "traceback": [f"{type(e).__name__}: {e}"]}
        send("error", failure)
        return {"status": "error", "execution_count": count, **failure}
    return {"status": "ok", "execution_count": count, "user_expressions": {}}


poller = zmq.Poller()
poller.register(shell, zmq.POLLIN)
poller.register(control, zmq.POLLIN)
while True:
    try:
        for socket, _ in poller.poll():
            identities, request = session.recv(socket, 0)
            kind = request["msg_type"]
            send("status", {"execution_state": "busy"})
            content = {"status": "ok"}
            if kind == "kernel_info_request":
                content |= {"protocol_version": "5.3", "implementation": "test", "banner": "", "language_info": {"name": "python"}}
            elif kind == "execute_request":
                count += 1
                send("execute_input", {"code": request["content"]["code"], "execution_count": count})
                content = execute(request["content"]["code"])
            session.send(socket, kind.replace("_request", "_reply"), content, parent=request, ident=identities)
            send("status", {"execution_state": "idle"})
            if kind == "shutdown_request":
                sys.exit()
    except KeyboardInterrupt:
        pass  # between cells
