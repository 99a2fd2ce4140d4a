"""`vckg-serve`: serve a model over OpenAI's HTTP interface, or talk to it in the terminal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve import commands
from serve.command_app import Application, note, run
from serve.errors import InputError, KnownError, ModelError, check_name
from serve.spec_decode import METHODS
from serve.threads import one_thread

if TYPE_CHECKING:
    from serve.engine.engine import Engine, EngineConfig
    from serve.kv_cache.prefix_cache import PrefixForest
    from serve.scheduling.scheduler import Scheduler

KEY_VARIABLE = "VCKG_SERVE_API_KEY"


def versions() -> Iterator[str]:
    """The command's version, and the model that is served when none is named."""
    from importlib.metadata import version

    from serve.model.loader import EMBEDDED, embedded_model

    yield f"vckg-serve {version('vckg')}"
    try:
        yield f"model {EMBEDDED} in {embedded_model()}"
    except ModelError as error:
        yield f"model none: {error}"


app = Application(
    "vckg-serve", "Serve a model over OpenAI's HTTP interface, or talk to it in the terminal.", versions
)

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="Hugging Face folder or .gguf file; default: the embedded SmolLM2-135M-Instruct.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="CPU: float16 (weights alone; the default), float32, float64, or bfloat16 where the processor "
        "computes it; GPU: bfloat16 (the default), half, float32."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
CacheOption = Annotated[int, typer.Option("--cache-tokens", min=64, help="Tokens the KV cache holds.")]
DraftOption = Annotated[
    str,
    typer.Option(help="How tokens are drafted: off, lookup, ngram, head, dart (head and n-grams)."),
]
SchedulerOption = Annotated[
    str,
    typer.Option(
        help="echo (interactive first, batch work in the time left before their deadlines) or priority "
        "(strictly by class, then arrival)."
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--draft-folder", help="Folder of the draft files; the embedded model has its own."),
]


@app.command()
def start(
    model: ModelOption = None,
    name: Annotated[str | None, typer.Option(help="Name the model is served under.")] = None,
    host: Annotated[str, typer.Option(help="Address to bind; any other needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8000,
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    cache_tokens: CacheOption = 16_384,
    draft: DraftOption = "off",
    draft_folder: FolderOption = None,
    scheduler: SchedulerOption = "echo",
    pace: Annotated[float, typer.Option(help="Seconds a token that echo promises to readers.")] = 0.2,
    max_running: Annotated[int, typer.Option(min=1, help="Requests that run together.")] = 32,
    step_tokens: Annotated[int, typer.Option(min=1, help="Tokens a step computes at most.")] = 256,
    max_open: Annotated[int, typer.Option(min=1, help="Requests open at once; more get 429.")] = 256,
    max_output: Annotated[int, typer.Option(min=1, help="Most tokens a request may generate.")] = 4_096,
    max_prompt: Annotated[int, typer.Option(min=1, help="Most tokens a prompt may have.")] = 8_192,
    max_body: Annotated[int, typer.Option(min=1, help="Most bytes a request's body may have.")] = 1_000_000,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections open at once.")] = 512,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="Another name clients may call this server by (Host header); may be repeated; * is any.",
        ),
    ] = None,
    drain: Annotated[int, typer.Option(min=0, help="Seconds open requests may go on after SIGTERM.")] = 120,
) -> None:
    """Serve a model at http://HOST:PORT/v1. An API key is read from VCKG_SERVE_API_KEY."""
    key = os.environ.get(KEY_VARIABLE)
    if not key and host not in ("127.0.0.1", "localhost", "::1"):
        raise InputError(f"--host {host} is reachable from outside: set an API key in {KEY_VARIABLE}")
    with bind(host, port) as address:  # before the model is read: a taken port is answered at once
        engine, model_name = load_engine(
            model, precision, device, threads, cache_tokens, max_running, step_tokens, draft, scheduler, pace
        )
        with one_thread():
            plug_draft(engine, draft, draft_folder)
        engine.checkpoint.tensors.clear()  # the model has its own, packed
        import uvicorn

        from serve.model.linear import computes_bfloat16
        from serve.server.app import Server
        from serve.server.guard import Hosts, config
        from serve.server.preparation import Limits

        limits = Limits(max_body, 30.0, max_prompt, max_output, min(512, max_output), max_open)
        server = Server(engine, name or model_name, limits, key, Hosts(host, allowed_host or ()))
        where = f"[{host}]" if ":" in host else host
        url = f"http://{where}:{address.getsockname()[1]}/v1"
        settings = config(server.app(), drain_s=drain, most_connections=max_connections)
        running = uvicorn.Server(settings)
        sockets = [address]

        def give_up() -> None:
            running.should_exit = True

        def ready() -> None:
            if listens(address):
                note(f"serving {server.model_name} at {url}")
                server.on_end = lambda: note("stopped")
            else:
                sockets.clear()
                give_up()

        if precision is None and device == "cpu" and computes_bfloat16():
            note("hint: --precision bfloat16 answers many requests faster on this processor, and rounds more")
        server.on_ready = ready
        server.worker.on_failure = give_up
        note("answering once to warm up ...")
        running.run(sockets=sockets)
        if not sockets:
            raise InputError(f"another server took {host}:{port} meanwhile; name another --port")
        if server.worker.failed:
            raise KnownError("the engine failed (its log is above); start the server again")


def bind(host: str, port: int) -> socket.socket:
    """A socket on an address that is free, not listening yet; port 0 is any free one.

    No other process can bind the address, unless connections of an earlier server still linger on it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.socket(family, socket.SOCK_STREAM)
    try:
        try:
            address.bind((host, port))
        except OSError:
            address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            address.bind((host, port))
    except OSError as error:
        address.close()
        raise InputError(
            f"cannot bind {host}:{port}: {error.strerror}; name another --host or --port"
        ) from error
    return address


def listens(address: socket.socket) -> bool:
    """Listen on a bound socket; return whether that worked."""
    address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a restart finds the port free
    try:
        address.listen()
    except OSError:
        return False
    return True


@app.command()
def chat(
    model: ModelOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    cache_tokens: CacheOption = 8_192,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 512,
    draft: DraftOption = "off",
    draft_folder: FolderOption = None,
) -> None:
    """Talk to a model in the terminal; end with Ctrl-D. From a pipe, each line is a turn."""
    from serve.chat import converse
    from serve.request import SamplingParams

    params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
    engine, _ = load_engine(model, precision, device, threads, cache_tokens, 1, 256, draft)
    plug_draft(engine, draft, draft_folder)
    converse(engine, params, system)


def load_engine(
    model: Path | None,
    precision: str | None,
    device: str,
    threads: int | None,
    cache_tokens: int,
    max_running: int,
    step_tokens: int,
    draft: str,
    scheduler: str = "priority",
    pace: float = 0.2,
) -> tuple[Engine, str]:
    """Check the options, then read a model; return an engine around it, and the model's name."""
    from serve.model.loader import find_model, load_checkpoint
    from serve.threads import use_threads

    check_name("--draft", draft, ("off", *METHODS))
    check_name("--scheduler", scheduler, SCHEDULERS)
    if pace <= 0:
        raise InputError(f"--pace is {pace:g}, must be positive")
    path = find_model(model)  # before torch is loaded: a typing error is answered at once
    note("vckg-serve: starting; libraries and model take up to half a minute")
    use_threads(threads)
    from serve.engine.engine import Engine, EngineConfig
    from serve.model.decoder import Model
    from serve.model.linear import check_device, check_precision

    chosen = precision or ("float16" if device == "cpu" else "bfloat16")
    check_precision(chosen, check_device(device))
    config = EngineConfig(cache_tokens, 16, max_running, step_tokens)
    note(f"reading {model or 'the embedded model'} ...")
    with one_thread():
        checkpoint = load_checkpoint(path)
        whole = Model.load(checkpoint, chosen, device)
        engine = Engine(whole, checkpoint, config, None, make_scheduler(scheduler, config, pace))
    return engine, checkpoint.name


def _priority(forest: PrefixForest, config: EngineConfig, pace_s: float) -> Scheduler:
    from serve.scheduling.scheduler import Scheduler

    return Scheduler(forest, config.max_running, config.step_tokens)


def _echo(forest: PrefixForest, config: EngineConfig, pace_s: float) -> Scheduler:
    """Echo starts from a guess of the step times and learns the machine's."""
    from serve.echo.config import EchoConfig
    from serve.echo.scheduler import EchoScheduler
    from serve.scheduling.estimators import FIRST_GUESS, LearningTimeModel

    times = LearningTimeModel(FIRST_GUESS)
    return EchoScheduler(forest, config.max_running, config.step_tokens, times, EchoConfig(pace_s=pace_s))


SCHEDULERS: dict[str, Callable[[PrefixForest, EngineConfig, float], Scheduler]] = {
    "echo": _echo,
    "priority": _priority,
}
"""Schedulers by the name of `--scheduler`; each is made of a cache, the engine's settings and seconds a token."""


def make_scheduler(name: str, config: EngineConfig, pace_s: float) -> Scheduler:
    """Return one of `SCHEDULERS` over a new cache."""
    from serve.kv_cache.prefix_cache import PrefixForest

    check_name("--scheduler", name, SCHEDULERS)
    forest = PrefixForest(config.cache_tokens // config.block_tokens, config.block_tokens)
    return SCHEDULERS[name](forest, config, pace_s)


def plug_draft(engine: Engine, method: str, folder: Path | None) -> None:
    """Plug a proposer into an engine; `off` leaves it plain."""
    if method == "off":
        return
    from serve.spec_decode.registry import draft_folder, make_proposer

    where = folder or draft_folder(engine.checkpoint.name)
    engine.proposer = make_proposer(
        method, engine.checkpoint, engine.model, block_tokens=engine.config.block_tokens, folder=where
    )


commands.register(app)


def main() -> None:
    """Run the command line."""
    run(app, "vckg-serve")


if __name__ == "__main__":
    main()
