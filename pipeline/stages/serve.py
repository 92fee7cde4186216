"""Serve a model over HTTP, with a web page.

    pipeline serve --model models:/mnist-gru@champion --port 5001

One process answers all requests; its threads share the model. For more
processes, or without the page, there is `mlflow models serve`.
"""

import socket
from collections.abc import Sequence

import uvicorn

from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.serving import server
from pipeline.tracking import classifier


def serve(
    reporter: Reporter, model: str, *, host: str, port: int, allowed_hosts: Sequence[str] | None, trust: bool
) -> None:
    """Serve a model until Ctrl-C or a termination signal.

    Args:
        reporter: prints the URL to open, just before the server answers there.
        model: URI of the model, such as ``models:/mnist-gru@champion``.
        host: name or IP address of the network interface to listen on.
        port: port to listen on; 0: any free one.
        allowed_hosts: host names that clients may use, in addition to ``host`` and the names of the loopback interface.
        trust: run the code of a model that this pipeline did not log.

    Raises:
        TrackingError: there is no such model.
        UsageError: the port is not available, or the model is not from this pipeline.
    """
    with bound(host, port) as listener:
        app = server.app(classifier.load(model, trust=trust), uri=model, hosts=[host, *(allowed_hosts or [])])
        place = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        reporter.result(f"Serving {model} at {place}/invocations; its page is {place}/. Press Ctrl-C to stop.")
        try:
            uvicorn.Server(server.config(app)).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn raises it again when it has ended
            reporter.note("Stopped.")


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port before the model is loaded; it refuses clients until it listens.

    Raises:
        UsageError: the port is not available.
    """
    # asyncio sends each answer immediately (TCP_NODELAY) only if the protocol is named; otherwise it takes 40 ms more.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        problem = f"{host}:{port} is not available: {str(error).rstrip('.')}."
        raise UsageError(f"port: {problem} Use another --port, or 0 for any free one.") from None
    return listener
