"""What both type checkers must refuse. Every comment names the rule; one that is not needed is an error, too."""

from dataclasses import dataclass

from msglog import JSON, TEXT, Codec, Log, Message, Record, Store, Transaction, TypedRecord, aio, json_of


@dataclass
class Order:
    id: int


class NoCodec:
    def encode(self, obj: int) -> str:
        return str(obj)


def misuse_log(log: Log) -> None:
    log.append("t", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.append("t", b"v", b"key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    log.append("t", b"v", headers={"h": "text"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.append_many("t", b"value")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.create_topic("t", cleanup_policy="gone")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.create_topic("t", retention=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    log.alter_topic("t", max_message_bytes="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.consumer("t", assignor="rage")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.consumer("t", start="now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.share_consumer("t")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    for record in log.read("t"):
        record.value.decode()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        record.value = b"x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def takes_text(_record: str) -> None: ...

    log.subscribe("t", group="g", callback=takes_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def misuse_store(store: Store) -> None:
    Store("s", sync="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Log("s", sinc="none")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    broker = store.broker
    broker.publish_many("", [b"body"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    broker.consume("q", on_error="retry")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    broker.get("q").ack()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    Message("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with broker.consume("q") as consumer:
        store.process(consumer, handle_record)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    with store.transaction() as tx:
        tx.append("t", "text")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        tx.ack(b"delivery")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def handle_record(_tx: object, _record: Record) -> None: ...


def misuse_views(store: Store) -> None:
    log = store.log
    log.topic("t", value=NoCodec())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    log.topic("t", value=str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    log.topic("t", on_decode_error="reject")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    orders = log.topic("t", key=TEXT, value=json_of(Order))
    orders.append("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    orders.append(Order(1), key=b"key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    orders.append_many([Order(1), 5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    for record in orders.read():
        record.value.id  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]  # noqa: B018
    orders.subscribe(group="g", callback=handle_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with store.transaction() as tx:
        tx.append(orders, "text")  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    mails = store.broker.queue("q", body=TEXT)
    mails.send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    codec: Codec[int] = TEXT  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    store.broker.queue("q", body=codec, on_decode_error="skip")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    store.broker.exchange("e", body=JSON).publish(b"key", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def handle_text(_record: TypedRecord[str, str]) -> None: ...


async def misuse_aio(log: aio.Log) -> None:
    aio.Store("s", sync="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aio.Log("s", sinc="none")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await log.append_many("t", b"value")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await log.append_many("t", [b"v"], kees=[b"k"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await log.producer("p").append("t", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    log.consumer("t", assignor="rage")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def handle_plainly(_tx: Transaction, _record: Record) -> None: ...


async def handle_delivery(_tx: Transaction, _delivery: aio.Delivery) -> None: ...


async def misuse_process(store: aio.Store) -> None:
    async with store.log.consumer("t", group="g") as consumer:
        await store.process(consumer, handle_plainly)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
        await store.process(consumer, handle_delivery)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
        await store.process("t", handle_delivery)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def see_text(_record: TypedRecord[str, str]) -> None: ...


async def misuse_views_of_tasks(store: aio.Store) -> None:
    store.log.topic("t", value=NoCodec())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    store.log.topic("t", on_decode_error="reject")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    orders = store.log.topic("t", key=TEXT, value=json_of(Order))
    await orders.append("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await orders.append(Order(1), key=b"key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for record in orders.read():
        record.value.id  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]  # noqa: B018
    orders.subscribe(group="g", callback=see_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with store.transaction() as tx:
        tx.append(orders, "text")  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    mails = store.broker.queue("q", body=TEXT)
    await mails.send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.broker.exchange("e", body=JSON).publish(b"key", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with mails.consume() as consumer:
        await store.process(consumer, handle_delivery)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
