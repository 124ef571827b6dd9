"""Batches on their way: a service that is away is waited for, and what is done is told when cut short."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from commerce.product.v1.product_pb2 import ImportProductsRequest, ImportProductsResponse, ImportRow

from deploy.local.errors import MeshError
from deploy.local.imports import choosing
from deploy.local.imports.batches import make_batches
from deploy.local.imports.report import Outcome, Report, ReportFile
from deploy.local.imports.rows import MAX_MESSAGE_BYTES, Converter
from deploy.local.imports.seen import SeenSkus
from deploy.local.imports.sending import Sender

Answer = Callable[[list[ImportRow], grpc.ServicerContext], ImportProductsResponse]


class Products:
    """The one method of the product service that is called."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.calls: list[list[ImportRow]] = []
        self.message_bytes: list[int] = []
        self._lock = threading.Lock()

    def take(
        self, request_iterator: Iterator[ImportProductsRequest], context: grpc.ServicerContext
    ) -> ImportProductsResponse:
        requests = list(request_iterator)
        rows = [row for request in requests for row in request.rows]
        with self._lock:
            self.calls.append(rows)
            self.message_bytes += [request.ByteSize() for request in requests]
        return self._answer(rows, context)


@contextmanager
def served(answer: Answer) -> Iterator[tuple[Products, grpc.Channel]]:
    products = Products(answer)
    server = grpc.server(ThreadPoolExecutor(4))
    take = grpc.stream_unary_rpc_method_handler(
        products.take, ImportProductsRequest.FromString, ImportProductsResponse.SerializeToString
    )
    handler = grpc.method_handlers_generic_handler(
        "commerce.product.v1.ProductService", {"ImportProducts": take}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield products, channel
    server.stop(None).wait()


def send(folder: Path, channel: grpc.Channel, count: int, *, validate_only: bool = False) -> list[Outcome]:
    rows = "".join(f"S{n},Pot,1,A > B\n" for n in range(count))
    return send_text(folder, channel, f"sku,name,price,category\n{rows}", validate_only=validate_only)


def send_text(
    folder: Path, channel: grpc.Channel, text: str, *, validate_only: bool = False
) -> list[Outcome]:
    path = folder / "rows.csv"
    path.write_text(text)
    file, mapping = choosing.choose(path, None)
    outcomes: list[Outcome] = []
    seen = SeenSkus()
    sender = Sender(channel, lambda: "token", seen, validate_only=validate_only)
    try:
        sender.run(make_batches(file.read(), Converter(mapping), seen), outcomes.extend)
    except BaseException as error:
        error.args = (*error.args, outcomes)
        raise
    return outcomes


def created(rows: list[ImportRow], _: grpc.ServicerContext) -> ImportProductsResponse:
    return ImportProductsResponse(
        created_count=len(rows), created_rows=[row.row_number for row in rows if row.row_number % 2]
    )


def test_every_row_is_told_of_in_the_order_of_the_file(tmp_path: Path) -> None:
    with served(created) as (products, channel):
        outcomes = send(tmp_path, channel, 2500)
    assert [outcome.line for outcome in outcomes] == list(range(2, 2502))
    assert {outcome.result for outcome in outcomes[::2]} == {"created"}
    assert {outcome.result for outcome in outcomes[1::2]} == {"unchanged"}
    assert sorted(map(len, products.calls)) == [500, 1000, 1000]


def test_a_service_that_is_away_is_asked_again(tmp_path: Path) -> None:
    failures = iter([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE])

    def answer(rows: list[ImportRow], context: grpc.ServicerContext) -> ImportProductsResponse:
        code = next(failures, None)
        if code:
            context.abort(code, "away")
        return created(rows, context)

    with served(answer) as (products, channel):
        outcomes = send(tmp_path, channel, 10)
    assert [len(rows) for rows in products.calls] == [10, 10, 10]
    # Of a call that was repeated, nobody knows which rows the first attempt wrote.
    assert [outcome.result for outcome in outcomes] == ["created", "in the shop"] * 5


def in_stock(rows: list[ImportRow], _: grpc.ServicerContext) -> ImportProductsResponse:
    said = ImportProductsResponse()
    for row in rows:
        if row.initial_quantity > 10:
            said.issues.add(row_number=row.row_number, reason="INVALID_REQUEST", message="too many")
        else:
            said.created_rows.append(row.row_number)
    return said


@pytest.mark.parametrize("between", [0, 4500])
def test_a_row_that_the_service_refuses_gives_way_to_the_next_of_its_sku(
    tmp_path: Path, between: int
) -> None:
    others = "".join(f"S{n},Pot,1,5\n" for n in range(between))
    text = f"sku,name,price,stock\nD,Pot,1,50\nD,Pot,1,40\n{others}D,Pot,1,5\nD,Pot,1,6\nD,Pot,1,30\n"
    with served(in_stock) as (products, channel):
        outcomes = send_text(tmp_path, channel, text)
    assert [outcome.row for outcome in outcomes] == list(range(1, between + 6))
    of_d = [outcome for outcome in outcomes if outcome.sku == "D"]
    results = [outcome.result for outcome in of_d]
    assert results == ["refused", "refused", "created", "duplicate", "refused"]
    assert f"line {between + 4} " in of_d[3].message
    written = [row for rows in products.calls for row in rows if not row.validate_only]
    assert [row.initial_quantity for row in written if row.product.sku == "D"] == [50, 5]


def test_rows_of_one_sku_that_are_all_refused_cost_few_calls(tmp_path: Path) -> None:
    with served(in_stock) as (products, channel):
        outcomes = send_text(tmp_path, channel, "sku,name,price,stock\n" + "D,Pot,1,50\n" * 500)
    assert {outcome.result for outcome in outcomes} == {"refused"}
    assert len(products.calls) == 2


def test_what_was_done_before_a_refusal_is_told(tmp_path: Path) -> None:
    def answer(rows: list[ImportRow], context: grpc.ServicerContext) -> ImportProductsResponse:
        if rows[0].row_number > 1000:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return created(rows, context)

    with served(answer) as (_, channel), pytest.raises(MeshError, match="From line 1002 on") as caught:
        send(tmp_path, channel, 1500)
    assert [outcome.line for outcome in caught.value.args[-1]] == list(range(2, 1002))


def test_an_interruption_leaves_nothing_untold_that_was_answered(tmp_path: Path) -> None:
    def interrupted() -> Iterator[object]:
        file, mapping = choosing.choose(tmp_path / "rows.csv", None)
        yield from make_batches(file.read(), Converter(mapping), seen)
        raise KeyboardInterrupt

    (tmp_path / "rows.csv").write_text("sku,name,price\n" + "".join(f"S{n},Pot,1\n" for n in range(1500)))
    outcomes: list[Outcome] = []
    seen = SeenSkus()
    with served(created) as (products, channel), pytest.raises(KeyboardInterrupt):
        Sender(channel, lambda: "token", seen).run(interrupted(), outcomes.extend)  # type: ignore[arg-type]
    # What nobody had begun to send is not sent any more.
    assert len(outcomes) == sum(map(len, products.calls)) >= 1000


def test_rows_share_messages_that_are_no_larger_than_the_contract_lets_them_be(tmp_path: Path) -> None:
    long, short = "x" * 9_900, "x"
    texts = [long if n % 3 else short for n in range(100)]
    rows = "".join(f"S{n},Pot,1,{text}\n" for n, text in enumerate(texts))
    with served(created) as (products, channel):
        outcomes = send_text(tmp_path, channel, f"sku,name,price,description\n{rows}")
    assert [outcome.row for outcome in outcomes] == list(range(1, 101))
    assert [row.product.description for row in products.calls[0]] == texts
    assert max(products.message_bytes) <= MAX_MESSAGE_BYTES
    assert len(products.message_bytes) < 15


def test_a_category_that_cannot_be_costs_the_category_alone(tmp_path: Path) -> None:
    def answer(rows: list[ImportRow], context: grpc.ServicerContext) -> ImportProductsResponse:
        said = ImportProductsResponse()
        for row in rows:
            if row.row_number == 2 and row.category_path:
                said.issues.add(row_number=2, reason="CATEGORY_PATH_INVALID", message="too deep")
            else:
                said.created_rows.append(row.row_number)
        return said

    with served(answer) as (products, channel):
        outcomes = send(tmp_path, channel, 3)
    assert [outcome.result for outcome in outcomes] == ["created"] * 3
    assert [outcome.field for outcome in outcomes] == ["", "category_path", ""]
    assert [len(rows) for rows in products.calls] == [3, 1]


def test_a_trial_says_so_in_each_row(tmp_path: Path) -> None:
    with served(created) as (products, channel):
        send(tmp_path, channel, 3, validate_only=True)
    assert [row.validate_only for row in products.calls[0]] == [True] * 3


def test_a_report_has_a_line_for_each_row(tmp_path: Path) -> None:
    told = [
        Outcome(2, 1, "A", "created"),
        Outcome(3, 2, "B", "created", "brand", "x", "FIELD_LEFT_OUT", "too long"),
        Outcome(4, 3, "", "refused", "price", "free", "PRICE_INVALID", "no number"),
    ]
    report = Report()
    report.add(told)
    with ReportFile(tmp_path / "report.csv") as written:
        written.write(told)
        lines = (tmp_path / "report.csv").read_text().splitlines()
    assert lines[0] == "line,row,sku,result,field,value,reason,message"
    assert lines[3] == "4,3,,refused,price,free,PRICE_INVALID,no number"
    assert (report.rows, report.remarked, len(report.notes)) == (3, 1, 2)


def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="cannot be written"):
        ReportFile(tmp_path / "none" / "report.csv")
