"""Starting servers and asking them, for the scripts that measure `bmem serve`. Standard library only."""
import contextlib, http.client, json, os, socket, subprocess, sys, time, urllib.parse

BMEM = os.environ.get("BMEM") or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", "bmem")


@contextlib.contextmanager
def server(command, url=None):
    """Runs a server until the block ends: yields its URL, which a first line on its standard output ends with if url is
    None, and its process. Ends it by SIGTERM and requires that it then ends with status 0, or by that signal."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE if url is None else subprocess.DEVNULL, text=True)
    try:
        if url is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{command[0]} did not start: status {process.wait()}")
            url = line.split()[-1]
        else:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    if ask(url, "GET", "/models")[0] == 200:
                        break
                if process.poll() is not None:
                    raise SystemExit(f"{command[0]} did not start: status {process.returncode}")
                time.sleep(0.2)
        yield url, process
    finally:
        process.terminate()
        status = process.wait(timeout=180)
    if status not in (0, -15):
        raise SystemExit(f"{command[0]} ended with status {status}")


def llama(path, tokens, *options):
    """The command of a llama.cpp server of a model file with a context of so many tokens on all cores, and its URL."""
    port, threads = str(free_port()), str(os.cpu_count())
    return [sys.executable, "-m", "llama_cpp.server", "--model", path, "--port", port, "--n_threads", threads, "--n_threads_batch", threads,
            "--n_ctx", str(tokens), "--verbose", "False", *options], f"http://127.0.0.1:{port}/v1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(url):
    return http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=600)


def ask(url, method, path, body=None, connection=None):
    """One request; the status and the parsed answer."""
    c = connection or connect(url)
    try:
        c.request(method, "/v1" + path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        r = c.getresponse()
        data = r.read()
        return r.status, json.loads(data)
    finally:
        if connection is None:
            c.close()


def model_file(name):
    """Where the GGUF file of a model of the catalogue lies."""
    for m in json.loads(subprocess.check_output([BMEM, "models", "list", "--json"])):
        if m["name"] == name:
            return m["path"]
    raise SystemExit(f"no model {name}")


def conversation(n):
    """A prompt of some 150 tokens that no other n begins alike."""
    people = ["Ann", "Omar", "Rita", "Chen", "Lena", "Ivo", "Maja"]
    things = ["a blue bicycle", "two concert tickets", "a used piano", "seven pears", "a garden table", "a map of Peru"]
    turns = [f"{people[(n + i) % 7]}: On day {n * 13 + i} I bought {things[(n * 5 + i) % 6]} for {n % 89 + i * 7} dollars." for i in range(7)]
    return f"Talk {n}.\n" + "\n".join(turns) + f"\n\nWhat did {people[n % 7]} buy first, and what might come of it? Answer at length."
