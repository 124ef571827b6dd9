// Shops from Node.js: `node node.js BASE_URL PROTOCOL [CA_FILE]`.
import { readFileSync } from "node:fs";
import { shop } from "./shop.js";

const [, , baseUrl = "", protocol, ca] = process.argv;
if (protocol !== "grpc" && protocol !== "grpc-web") throw new Error("which protocol?");
const tls = ca === undefined ? {} : { ca: readFileSync(ca) };
console.log(JSON.stringify(await shop({ baseUrl, protocol, tls })));
