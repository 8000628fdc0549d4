/**
 * The program that runs in a sandbox for `runCode`: one Python interpreter with its own variables. It reads requests, one JSON object a line, from its
 * input, and writes events, one a line, to what was its standard output; what code prints goes through pipes and comes as events, in order with the rest.
 *
 *   {"id", "code"}                        runs code; SIGINT breaks it off
 *   {"id", "kind": "stdout" | "stderr", "text"}
 *   {"id", "kind": "result", "data"}      what an expression at the end, a figure or `display` gave: base64 or text by media type
 *   {"id", "kind": "error", "name", "message", "traceback"}
 *   {"id", "kind": "done"}
 *   {"kind": "ready"}                     once, at the start
 */
export const PYTHON_KERNEL = String.raw`
import ast, base64, builtins, json, linecache, os, signal, sys, threading, traceback

MAX_TEXT = 1 << 20
MAX_ROWS = 10_000
TABLE = "application/vnd.skerry.table+json"
events = os.fdopen(os.dup(1), "w", encoding="utf-8")
requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
lock = threading.Lock()
current = None


telling = interrupted = False


def tell(kind, **more):
    # An interrupt in the middle of a line would leave half of it: it waits for the end.
    global telling, interrupted
    is_main = threading.current_thread() is threading.main_thread()
    telling = telling or is_main
    with lock:
        events.write(json.dumps({"id": current, "kind": kind, **more}) + "\n")
        events.flush()
    if is_main:
        telling = False
        if interrupted:
            interrupted = False
            raise KeyboardInterrupt


class Pipe:
    """What comes at a file descriptor, by whoever wrote it, also programs that the code starts."""

    def __init__(self, fd, kind):
        self.kind = kind
        self.read, write = os.pipe()
        os.dup2(write, fd)
        os.close(write)
        self.mark = os.urandom(16).hex().encode()
        self.fd = fd
        self.drained = threading.Event()
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        import codecs
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        held = b""
        while piece := os.read(self.read, 1 << 16):
            held += piece
            marked = self.mark in held
            if marked:
                held = held.replace(self.mark, b"", 1)
            # The start of a mark may be at the end of a piece.
            keep = 0 if marked else next((n for n in range(min(len(held), 31), 0, -1) if self.mark.startswith(held[-n:])), 0)
            text = decoder.decode(held[: len(held) - keep])
            held = held[len(held) - keep :]
            if text:
                tell(self.kind, text=text)
            if marked:
                self.drained.set()

    def drain(self):
        self.drained.clear()
        os.write(self.fd, self.mark)
        self.drained.wait(5)


pipes = [Pipe(1, "stdout"), Pipe(2, "stderr")]
sys.stdout, sys.stderr = streams = [
    os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False) for fd in (1, 2)
]

representations = (
    ("image/png", "_repr_png_"), ("image/jpeg", "_repr_jpeg_"), ("image/svg+xml", "_repr_svg_"), ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"), ("text/latex", "_repr_latex_"), ("application/json", "_repr_json_"),
)


def bundle(value):
    data = {"text/plain": repr(value)[:MAX_TEXT]}
    try:
        if isinstance(value, (list, tuple, dict)):
            data["application/json"] = json.dumps(value, allow_nan=False)
        elif type(value).__name__ == "DataFrame" and hasattr(value, "to_json"):
            split = json.loads(value.head(MAX_ROWS).to_json(orient="split", date_format="iso"))
            data[TABLE] = json.dumps({"columns": [str(name) for name in split["columns"]], "rows": split["data"]})
    except Exception:
        pass  # then it has no such form
    data = {media: text for media, text in data.items() if len(text) <= MAX_TEXT}
    for media, name in representations:
        # Classes have the method as well, and cannot be shown by it.
        if isinstance(value, type) or not hasattr(type(value), name):
            continue
        try:
            shown = getattr(value, name)()
        except Exception:
            continue
        if isinstance(shown, tuple):
            shown = shown[0]
        if isinstance(shown, bytes):
            shown = base64.b64encode(shown).decode()
        if shown is not None:
            data[media] = shown if isinstance(shown, str) else json.dumps(shown)
    return data


def display(*values):
    for value in values:
        tell("result", data=bundle(value))


def figures():
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    import io
    for number in pyplot.get_fignums():
        figure, png, svg = pyplot.figure(number), io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", bbox_inches="tight")
        figure.savefig(svg, format="svg", bbox_inches="tight")
        data = {"text/plain": repr(figure), "image/png": base64.b64encode(png.getvalue()).decode()}
        if len(svg.getvalue()) <= MAX_TEXT:
            data["image/svg+xml"] = svg.getvalue()
        tell("result", data=data)
    pyplot.close("all")


os.environ.setdefault("MPLBACKEND", "agg")
builtins.display = display
names = {"__name__": "__main__", "__builtins__": builtins}
count = 0


def run(code):
    global count
    count += 1
    file = f"<cell {count}>"
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    tree = ast.parse(code, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), file, "eval"), names)
        if value is not None:
            names["_"] = value
            display(value)
    figures()


def failed(error):
    # What is of this program is none of the code's.
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<cell "):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    tell("error", name=type(error).__name__, message=str(error)[:MAX_TEXT], traceback=text[:MAX_TEXT])


def interrupt(*_):
    global interrupted
    if not running:
        return
    if telling:
        interrupted = True
    else:
        raise KeyboardInterrupt


running = False
signal.signal(signal.SIGINT, interrupt)
tell("ready")
while line := requests.readline():
    request = json.loads(line)
    current, outcome = request["id"], None
    try:
        running = True
        run(request["code"])
    except BaseException as error:
        running = False
        outcome = error
    running = False
    if outcome is not None and not (isinstance(outcome, SystemExit) and outcome.code in (None, 0)):
        failed(outcome)
    for stream in streams:
        stream.flush()
    for pipe in pipes:
        pipe.drain()
    tell("done")
`;
