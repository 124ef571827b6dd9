// Writes into src/generated what the contract says: messages and services, and how callers retry.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const CONFIGS = here("../../generated/clients");
const BUF = here("../../.venv/bin/buf");

// Nothing of an older contract stays behind.
for (const folder of ["src/generated", "dist"]) rmSync(here(folder), { recursive: true, force: true });

// The messages of google/protobuf come with @bufbuild/protobuf.
const words = ["generate", here("../../generated/commerce.binpb"), "--exclude-path", "google/protobuf"];
execFileSync(existsSync(BUF) ? BUF : "buf", words, { cwd: here("."), stdio: "inherit" });

const read = (name) => JSON.parse(readFileSync(`${CONFIGS}/${name}`, "utf8"));
const configs = JSON.stringify(readdirSync(CONFIGS).sort().map(read), null, 2);
writeFileSync(here("src/generated/service_configs.ts"), `export default ${configs};\n`);
