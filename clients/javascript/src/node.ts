// For Node.js: gRPC, or gRPC-Web, over HTTP/2.

import type { SecureClientSessionOptions } from "node:http2";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import type { Options as BrowserOptions } from "./browser.js";
import { asTheContractSays, checked } from "./calls.js";

export { Code, createClient } from "@connectrpc/connect";
export type { Token } from "./calls.js";
export { CallError, type Violation } from "./errors.js";

/** Unpacked. No answer of the contract comes near it. */
const LARGEST_ANSWER_BYTES = 16 * 1024 * 1024;

export interface Options extends BrowserOptions {
  /** "grpc" unless something between here and the edge speaks no HTTP/2 to the end. */
  readonly protocol?: "grpc" | "grpc-web" | undefined;
  /** For https: `ca` is the edge's authority, PEM, where it is none of the internet's. */
  readonly tls?: Pick<SecureClientSessionOptions, "ca" | "cert" | "key"> | undefined;
}

/**
 * Returns a transport to the edge: `createClient(OrderService, connect({ baseUrl, token }))`.
 *
 * A method of the client returns the answer, or an iterator of answers. It throws a CallError. `timeoutMs`
 * unset is the contract's deadline for the method; what may be repeated is, within it.
 */
export function connect({ baseUrl, token, protocol = "grpc", tls = {} }: Options): Transport {
  const over = { baseUrl: checked(baseUrl), nodeOptions: tls, readMaxBytes: LARGEST_ANSWER_BYTES };
  const transport =
    protocol === "grpc" ? createGrpcTransport(over) : createGrpcWebTransport({ ...over, httpVersion: "2" });
  return asTheContractSays(transport, token);
}
