"""Flower's ClientApp: one handler a stage, each from a message to a message."""

from pathlib import Path
from typing import Any

import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

import braing3n
from braing3n.errors import ProtocolError
from braing3n.files import digest_bytes
from braing3n.plan import StageName
from braing3n.protocol import PROTOCOL_VERSION, Hello, Reply, Task, code_digest, software_version
from braing3n.round_records import seen_of
from braing3n.weights import Vector, doubles_from_npy, to_wire, vector_from_npy
from client.guard import SiteApp, guard
from client.probing import probe
from client.reading import read_task
from client.site import Site, check_task, open_site
from client.work import evaluate, install, moments, train

app = SiteApp(mods=[guard])


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Say who this site is and which code it runs."""
    site = open_site(context)
    text = Hello(
        site=site.config.name, protocol=PROTOCOL_VERSION, version=software_version(),
        code_digest=code_digest([Path(braing3n.__file__).parent, Path(__file__).parent]),
    ).model_dump_json()
    site.log(f"answering hello: {text}")
    return Message(RecordDict({"message": ConfigRecord({"json": text})}), reply_to=message)


@app.query("install")
def install_part(message: Message, context: Context) -> Message:
    """Keep a frozen part, if it has the digest that was announced."""
    task, vector = _read(message)
    site = open_site(context)
    return write_reply(site, message, install(site, task, vector), None)


@app.train("pretrain")
def pretrain(message: Message, context: Context) -> Message:
    """Train the masked autoencoder for one round."""
    return _train(message, context, "pretrain")


@app.train("decoder")
def decoder(message: Message, context: Context) -> Message:
    """Train the projection and the CNN decoder for one round."""
    return _train(message, context, "decoder")


@app.train("diffusion")
def diffusion(message: Message, context: Context) -> Message:
    """Train the diffusion transformer for one round."""
    return _train(message, context, "diffusion")


@app.query("moments")
def latent_moments(message: Message, context: Context) -> Message:
    """Return the moments of the latents over the training volumes."""
    task, _ = _read(message)
    site = open_site(context)
    return write_reply(site, message, *moments(site, task))


@app.query("probe")
def probe_encoder(message: Message, context: Context) -> Message:
    """Give the sums of a probe that the site's settings let leave."""
    task = read_task(message)
    contents = _arrays(message)
    site = open_site(context)
    return write_reply(site, message,
                       *probe(site, task, doubles_from_npy(contents) if contents else None))


@app.evaluate()
def evaluate_stage(message: Message, context: Context) -> Message:
    """Measure a stage's result on held-out subjects."""
    task, vector = _read(message)
    site = open_site(context)
    return write_reply(site, message, evaluate(site, task, vector), None)


def _train(message: Message, context: Context, stage: StageName) -> Message:
    task, vector = _read(message)
    if task.stage != stage:
        raise ProtocolError("the task is for another stage", expected=stage, found=task.stage,
                            fix="ask the coordinator")
    planned = check_task(task).stage(stage)
    if task.round_index == planned.rounds:  # which is the evaluation's
        raise ProtocolError("the plan trains in no such round", expected=f"below {planned.rounds}",
                            found=str(task.round_index), fix="ask the coordinator")
    site = open_site(context)
    reply, update = train(site, task, vector)
    return write_reply(site, message, reply,
                       None if update is None else to_wire(update, planned.payload))


def _read(message: Message) -> tuple[Task, Vector | None]:
    """Return a message's task and its array, if it has one.

    Raises:
        ProtocolError: The message is malformed.
    """
    task, contents = read_task(message), _arrays(message)
    return task, vector_from_npy(contents) if contents else None


def _arrays(message: Message) -> list[bytes]:
    return [array.data for rec in message.content.array_records.values() for array in rec.values()]


def write_reply(site: Site, message: Message, reply: Reply,
                vector: npt.NDArray[Any] | None) -> Message:
    """Return the reply message: the report, and the array where there is one.

    What goes out is logged first, so that a site can show what it sent. Which round record it was sent
    is said here, and not in answers that are kept: asked again, the same answer goes out, but the
    record may be a later one.
    """
    text = reply.model_copy(update={"seen": seen_of(read_task(message).record)}).model_dump_json()
    content = RecordDict({"message": ConfigRecord({"json": text})})
    array = "no array"
    if vector is not None:
        content["arrays"] = ArrayRecord({"weights": Array(vector)})
        array = f"{vector.size} {vector.dtype} numbers of sha256 {digest_bytes(vector.tobytes())}"
    site.log(f"answering {message.metadata.message_type}: {text} and {array}")
    return Message(content, reply_to=message)
