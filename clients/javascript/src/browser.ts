// For browsers: gRPC-Web over fetch.

import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { asTheContractSays, checked, type Token } from "./calls.js";

export { Code, createClient } from "@connectrpc/connect";
export type { Token } from "./calls.js";
export { CallError, type Violation } from "./errors.js";

export interface Options {
  /** The edge: "https://shop.example". */
  readonly baseUrl: string;
  /** Who calls; unset: nobody in particular. */
  readonly token?: Token | undefined;
}

/**
 * Returns a transport to the edge: `createClient(OrderService, connect({ baseUrl, token }))`.
 *
 * A method of the client returns the answer, or an iterator of answers. It throws a CallError. `timeoutMs`
 * unset is the contract's deadline for the method; what may be repeated is, within it.
 */
export function connect({ baseUrl, token }: Options): Transport {
  return asTheContractSays(createGrpcWebTransport({ baseUrl: checked(baseUrl), fetch: fetchOrUnavailable }), token);
}

/** A TypeError is all that a page is told when there is no connection. */
async function fetchOrUnavailable(...call: Parameters<typeof fetch>): Promise<Response> {
  try {
    return await fetch(...call);
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown;
    throw new ConnectError(thrown.message, Code.Unavailable, undefined, undefined, thrown);
  }
}
