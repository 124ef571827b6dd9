// Shops over REST with types that are made from the OpenAPI document, and prints what it saw as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
declare const crypto: { randomUUID(): string };

type Status = components["schemas"]["Status"];

function reasonOf(status: Status): string {
  for (const detail of status.details) {
    if (detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo") return detail.reason;
  }
  return "";
}

// The answer of a call, or an error that names why there is none.
function taken<T>(answer: { data?: T; error?: Status }): T {
  if (answer.data === undefined) throw new Error(answer.error ? reasonOf(answer.error) : "no answer");
  return answer.data;
}

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });
const email = `${crypto.randomUUID()}@example.com`;
const password = crypto.randomUUID();

const user = taken(await client.POST("/v1/users", { body: { user: { email }, password } }));
const session = taken(await client.POST("/v1/sessions", { body: { email, password } }));
client.use({
  onRequest({ request }) {
    request.headers.set("authorization", `Bearer ${session.tokens.accessToken}`);
    return request;
  },
});

const found = taken(
  await client.GET("/v1/products:search", { params: { query: { query: "coffee", pageSize: 1 } } }),
);
const [product] = found.products;
if (product === undefined) throw new Error("nothing is found");
const order = taken(
  await client.POST("/v1/orders", {
    body: {
      requestId: crypto.randomUUID(),
      lines: [{ productId: product.productId, quantity: 2 }],
      paymentToken: "tok_ok",
      expectedTotal: {
        currencyCode: product.price.currencyCode,
        units: String(2n * BigInt(product.price.units) + BigInt(Math.floor((2 * product.price.nanos) / 1e9))),
        nanos: (2 * product.price.nanos) % 1e9,
      },
    },
  }),
);
const listed = taken(await client.GET("/v1/orders", { params: { query: { pageSize: 5 } } }));
const cancelled = taken(
  await client.POST("/v1/orders/{orderId}:cancel", {
    params: { path: { orderId: order.orderId } },
    body: {},
  }),
);
const missing = await client.GET("/v1/orders/{orderId}", {
  params: { path: { orderId: crypto.randomUUID() } },
});

console.log(
  JSON.stringify({
    email: user.email === email,
    placed: order.state,
    listed: listed.orders.map((each) => each.orderId).includes(order.orderId),
    cancelled: cancelled.state,
    missing: missing.error ? reasonOf(missing.error) : "",
  }),
);
