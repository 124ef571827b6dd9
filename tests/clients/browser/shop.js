// A page of a shop, of another origin than the edge: what it saw goes back to where it came from.

const { edge, search, stranger } = await (await fetch("/config.json")).json();
const CHOSEN = ["age", "etag", "location", "retry-after", "x-request-id"];

async function rest(verb, path, { body, ...headers } = {}) {
  const answer = await fetch(edge + path, {
    method: verb,
    headers: { ...(body ? { "content-type": "application/json" } : {}), ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  const read = CHOSEN.filter((name) => answer.headers.has(name));
  return {
    status: answer.status,
    body: text && JSON.parse(text),
    headers: Object.fromEntries(read.map((name) => [name, answer.headers.get(name)])),
  };
}

// Binary gRPC-Web: a message is framed by a byte of flags and four of its length; so are the trailers.
async function grpc(method, message, headers = {}) {
  const bytes = Uint8Array.from(atob(message), (char) => char.charCodeAt(0));
  const frame = new Uint8Array(5 + bytes.length);
  new DataView(frame.buffer).setUint32(1, bytes.length);
  frame.set(bytes, 5);
  const sent = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", "grpc-timeout": "5S" };
  const answer = await fetch(`${edge}/${method}`, { method: "POST", headers: { ...sent, ...headers }, body: frame });
  const got = new Uint8Array(await answer.arrayBuffer());
  const details = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
  return {
    headers: Object.fromEntries(details.map((name) => [name, answer.headers.get(name)])),
    body: btoa(String.fromCharCode(...got)),
  };
}

async function shop() {
  const email = `page-${crypto.randomUUID()}@example.com`;
  const [password, key] = ["correct horse battery", crypto.randomUUID()];
  const user = { user: { email, displayName: "Ada" }, password };
  const registered = await rest("POST", "/v1/users", { body: user, "idempotency-key": key });
  const { tokens } = (await rest("POST", "/v1/sessions", { body: { email, password } })).body;
  const authorization = `Bearer ${tokens.accessToken}`;
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const me = await rest("GET", "/v1/users/me", { authorization, traceparent: `00-${trace}-00f067aa0ba902b7-01` });
  const etag = me.headers.etag;
  return {
    registered,
    me,
    trace,
    same: await rest("GET", "/v1/users/me", { authorization, "if-none-match": etag }),
    changed: await rest("PATCH", "/v1/users/me", { authorization, "if-match": etag, body: { displayName: "Eve" } }),
    late: await rest("PATCH", "/v1/users/me", { authorization, "if-match": etag, body: { displayName: "Bob" } }),
    found: await grpc("commerce.product.v1.ProductService/SearchProducts", search, { authorization }),
    refused: await grpc("commerce.order.v1.OrderService/ListOrders", ""),
  };
}

async function seen() {
  if (!stranger.includes(location.host)) return shop();
  return { read: await rest("GET", "/v1/products?pageSize=1").then(() => true, (error) => error.name) };
}

const report = await seen().catch((error) => ({ failed: `${error}\n${error.stack}` }));
await fetch("/report", { method: "POST", body: JSON.stringify(report) });
