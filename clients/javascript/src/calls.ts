// A transport whose calls keep the contract: its deadlines, its retries, its errors.

import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { deadlineMs } from "./contract.js";
import { CallError } from "./errors.js";
import { endOf, leftUntil, LONGEST_MS, Retries, type Bounds } from "./retries.js";

/** An access token, or what returns it: asked before each call, so that it may be renewed. */
export type Token = string | (() => string | Promise<string>);

/** Returns a transport that makes its calls over another one. */
export function asTheContractSays(over: Transport, token: Token | undefined): Transport {
  const retries = new Retries();
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const bounds = { signal, timeoutMs: boundOf(method, timeoutMs) };
      const endsAt = endOf(bounds);
      const sent = await within(bounds, headersWith(token, header));
      return retries.run(method, bounds, endsAt, (leftMs) =>
        over.unary(method, signal, leftMs, sent, input, contextValues),
      );
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const bounds = { signal, timeoutMs: boundOf(method, timeoutMs) };
      const endsAt = endOf(bounds);
      const sent = await within(bounds, headersWith(token, header));
      try {
        const leftMs = bounds.timeoutMs && leftUntil(endsAt);
        const answer = await over.stream(method, signal, leftMs, sent, input, contextValues);
        return { ...answer, message: withOurErrors(answer.message) };
      } catch (thrown) {
        throw CallError.from(thrown);
      }
    },
  };
}

/** Returns a call's time in whole milliseconds; undefined for any, which callers of Connect ask for by 0. */
function boundOf(method: DescMethod, timeoutMs = deadlineMs(method)): number | undefined {
  return timeoutMs !== undefined && timeoutMs > 0 ? Math.min(Math.ceil(timeoutMs), LONGEST_MS) : undefined;
}

/** Waits for what a call needs, no longer than for the call itself. */
function within<T>({ signal, timeoutMs }: Bounds, needed: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (code: Code, text: string) => () => reject(new CallError(new ConnectError(text, code)));
    const cancel = fail(Code.Canceled, "the caller cancelled the call");
    const late = fail(Code.DeadlineExceeded, "the call's time passed before its token came");
    const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    needed.then(resolve, (thrown: unknown) => reject(CallError.from(thrown))).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    });
  });
}

/**
 * Returns an address that calls can go to.
 *
 * @throws TypeError it is none, or names a user: what stands there would be in errors and logs.
 */
export function checked(baseUrl: string): string {
  const { protocol, username, password } = new URL(baseUrl);
  if (!/^https?:$/.test(protocol)) throw new TypeError("baseUrl begins with http:// or https://");
  if (username || password) throw new TypeError("baseUrl names no user: give a token");
  return baseUrl;
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
