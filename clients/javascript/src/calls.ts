// A transport whose calls keep the contract: its deadlines, its retries, its errors.

import type { DescMethod } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { deadlineMs } from "./contract.js";
import { CallError } from "./errors.js";
import { Retries } from "./retries.js";

/** An access token, or what returns it: asked before each call, so that it may be renewed. */
export type Token = string | (() => string | Promise<string>);

/** Returns a transport that makes its calls over another one. */
export function asTheContractSays(over: Transport, token: Token | undefined): Transport {
  const retries = new Retries();
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const sent = await headersWith(token, header);
      return retries.run(method, { signal, timeoutMs: boundOf(method, timeoutMs) }, (leftMs) =>
        over.unary(method, signal, leftMs, sent, input, contextValues),
      );
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const sent = await headersWith(token, header);
      try {
        const bound = boundOf(method, timeoutMs);
        const answer = await over.stream(method, signal, bound, sent, input, contextValues);
        return { ...answer, message: withOurErrors(answer.message) };
      } catch (thrown) {
        throw CallError.from(thrown);
      }
    },
  };
}

/** Returns a call's time in whole milliseconds; undefined for any, which callers of Connect ask for by 0. */
function boundOf(method: DescMethod, timeoutMs = deadlineMs(method)): number | undefined {
  return timeoutMs !== undefined && timeoutMs > 0 ? Math.ceil(timeoutMs) : undefined;
}

async function* withOurErrors<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (thrown) {
    throw CallError.from(thrown);
  }
}

/** Adds the token to what a call carries (RFC 6750). A file's token may end with its line. */
async function headersWith(token: Token | undefined, header: HeadersInit | undefined): Promise<Headers> {
  const headers = new Headers(header);
  const text = (await (typeof token === "function" ? token() : token))?.trim();
  if (text === undefined) return headers;
  // Without the token itself: errors end in logs.
  if (!/^[\x20-\x7e]*$/.test(text)) throw new TypeError("the token has characters that no header carries");
  headers.set("authorization", `Bearer ${text}`);
  return headers;
}
