// Calls a server of its own that fails as it is told to, and prints what the client made of that.
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { CallError, Code, connect, createClient } from "@commerce-mesh/client";
import { EventFeed } from "@commerce-mesh/client/commerce/event/v1/event_pb.js";
import { OrderService } from "@commerce-mesh/client/commerce/order/v1/order_pb.js";
import { InventoryService } from "@commerce-mesh/client/commerce/product/v1/inventory_pb.js";
import { ProductService } from "@commerce-mesh/client/commerce/product/v1/product_pb.js";
import { UserService } from "@commerce-mesh/client/commerce/user/v1/user_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "@commerce-mesh/client/google/rpc/error_details_pb.js";
import { ConnectError, type HandlerContext, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

const HOUR = 3600n;
const calls: { authorization: string | null; timeoutMs: number | undefined }[] = [];
const noted = (context: HandlerContext) =>
  calls.push({ authorization: context.requestHeader.get("authorization"), timeoutMs: context.timeoutMs() });

/** Fails with a code until it has been asked so often, and then answers. */
let failing: { code: Code; times: number; retrySeconds?: bigint } = { code: Code.Unavailable, times: 0 };

function answer(_: unknown, context: HandlerContext): object {
  noted(context);
  if (calls.length > failing.times) return {};
  const info = { desc: ErrorInfoSchema, value: { reason: "MADE_UP", metadata: { sku: "A" } } };
  const retryDelay = { seconds: failing.retrySeconds ?? 0n, nanos: 5e8 };
  const retry = { desc: RetryInfoSchema, value: { retryDelay } };
  const details = failing.retrySeconds === undefined ? [info] : [info, retry];
  throw new ConnectError("as told", failing.code, {}, details);
}

const hanging = new Promise<never>(() => {});

const server = createServer(
  connectNodeAdapter({
    routes(router) {
      router.service(ProductService, { getProduct: answer, deleteProduct: () => hanging });
      router.service(InventoryService, { reserveStock: answer });
      router.service(OrderService, { placeOrder: answer });
      router.service(UserService, { createUser: answer });
      router.service(EventFeed, {
        async *follow() {
          yield { events: [] };
          throw new ConnectError("it ends", Code.OutOfRange, {}, [
            { desc: ErrorInfoSchema, value: { reason: "POSITION_UNKNOWN" } },
          ]);
        },
      });
    },
  }),
);
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const told = ({ code, reason, metadata, retryAfter }: CallError) => {
  return { code: Code[code], reason, metadata, retryAfter };
};

async function outcome(call: Promise<unknown>): Promise<object> {
  return call.then(() => ({ answered: true }), told);
}

/** Makes one call over a connection of its own, and tells how often the server was asked. */
async function tried(call: (over: Transport) => Promise<unknown>, how: typeof failing): Promise<object> {
  calls.length = 0;
  failing = how;
  return { ...(await outcome(call(connect({ baseUrl })))), asked: calls.length };
}

// So long that a busy machine is no reason to give up.
const PATIENT = { timeoutMs: 60_000 };
const read = (over: Transport) => createClient(ProductService, over).getProduct({}, PATIENT);
const write = (over: Transport) => createClient(UserService, over).createUser({}, PATIENT);
const reserve = (over: Transport) => createClient(InventoryService, over).reserveStock({}, PATIENT);

/** The client's own cancellation, asked for while the server works. */
async function cancelled(): Promise<object> {
  const caller = new AbortController();
  const products = createClient(ProductService, connect({ baseUrl }));
  const call = products.deleteProduct({}, { signal: caller.signal });
  caller.abort();
  return outcome(call);
}

async function followed(): Promise<object> {
  let answers = 0;
  try {
    for await (const _ of createClient(EventFeed, connect({ baseUrl })).follow({})) answers++;
  } catch (error) {
    if (error instanceof CallError) return { answers, ...told(error) };
  }
  return { answers };
}

/** Fails so often that retries stop, all over one connection. */
async function throttled(): Promise<number[]> {
  const over = connect({ baseUrl });
  failing = { code: Code.Unavailable, times: Infinity };
  const asked = [];
  for (let each = 0; each < 30; each++) {
    calls.length = 0;
    await outcome(read(over));
    asked.push(calls.length);
  }
  failing = { ...failing, times: 0 };
  for (let each = 0; each < 200; each++) await read(over);
  failing = { ...failing, times: Infinity };
  calls.length = 0;
  await outcome(read(over));
  return [...asked, calls.length];
}

/** How much less time the second attempt has, in milliseconds, after a pause of half a second. */
async function shared(): Promise<number> {
  await tried(read, { code: Code.Unavailable, times: 1, retrySeconds: 0n });
  const [first, second] = calls.map((each) => each.timeoutMs ?? 0);
  return first! - second!;
}

/** The caller's cancellation in a pause of an hour. */
async function cancelledInAPause(): Promise<object> {
  const caller = new AbortController();
  return tried(
    (over) => {
      const options = { signal: caller.signal, timeoutMs: 0 };
      const call = createClient(ProductService, over).getProduct({}, options);
      const look = setInterval(() => {
        if (calls.length === 0) return;
        clearInterval(look);
        // The refusal is on its way: the pause begins in a moment.
        setTimeout(() => caller.abort(), 500);
      }, 10);
      return call;
    },
    { code: Code.Unavailable, times: Infinity, retrySeconds: HOUR },
  );
}

/** The contract's deadline for the method, and the caller's own. */
async function deadlines(): Promise<(number | undefined)[]> {
  calls.length = 0;
  failing = { code: Code.Unavailable, times: 0 };
  const orders = createClient(OrderService, connect({ baseUrl }));
  await orders.placeOrder({});
  await orders.placeOrder({}, PATIENT);
  return calls.map((each) => each.timeoutMs);
}

async function tokens(): Promise<(string | null)[]> {
  calls.length = 0;
  const renewed = ["first", "second"];
  const over = connect({ baseUrl, token: () => `${renewed.shift()}\n` });
  await read(over);
  await read(over);
  return calls.map((each) => each.authorization);
}

/** A token that never comes, and one that cannot be had. */
async function withoutToken(): Promise<object[]> {
  const never = createClient(ProductService, connect({ baseUrl, token: () => hanging }));
  const lost = createClient(ProductService, connect({ baseUrl, token: () => Promise.reject(new Error("lost")) }));
  return [
    await outcome(never.getProduct({}, { timeoutMs: 50 })),
    await outcome(never.getProduct({}, { signal: AbortSignal.timeout(50) })),
    await outcome(lost.getProduct({})),
  ];
}

/** What `connect` says of addresses that calls cannot go to. */
function refusedAddresses(): string[] {
  return ["shop.example", "ftp://shop.example", "http://ada:secret@shop.example"].map((address) => {
    try {
      return typeof connect({ baseUrl: address });
    } catch (error) {
      return (error as Error).message;
    }
  });
}

const unreachable = connect({ baseUrl: "http://127.0.0.1:1" });
const unsendable = connect({ baseUrl, token: "a secret\u0007" });
const late = () => createClient(ProductService, connect({ baseUrl })).deleteProduct({}, { timeoutMs: 50 });
const UNAVAILABLE = { code: Code.Unavailable };

console.log(
  JSON.stringify({
    deadlines: await deadlines(),
    tokens: await tokens(),
    mended: await tried(read, { ...UNAVAILABLE, times: 1 }),
    stopping: await tried(read, { code: Code.Canceled, times: 1 }),
    given_up: await tried(read, { ...UNAVAILABLE, times: Infinity }),
    as_often_as_its_method_says: await tried(reserve, { ...UNAVAILABLE, times: Infinity }),
    not_to_be_repeated: await tried(write, { ...UNAVAILABLE, times: Infinity }),
    not_of_a_kind_that_passes: await tried(read, { code: Code.NotFound, times: Infinity }),
    asked_to_wait_too_long: await tried(read, { ...UNAVAILABLE, times: 1, retrySeconds: HOUR }),
    throttled: await throttled(),
    shared: await shared(),
    cancelled_in_a_pause: await cancelledInAPause(),
    late: await outcome(late()),
    cancelled: await cancelled(),
    followed: await followed(),
    unreachable: await outcome(createClient(UserService, unreachable).createUser({})),
    unsendable: await read(unsendable).catch((error: CallError) => error.text),
    without_token: await withoutToken(),
    refused_addresses: refusedAddresses(),
    asked_to_wait_for_a_month: await tried(
      (over) => createClient(ProductService, over).getProduct({}, { timeoutMs: 0 }),
      { ...UNAVAILABLE, times: 1, retrySeconds: 30n * 24n * HOUR },
    ),
  }),
);
process.exit(0);
