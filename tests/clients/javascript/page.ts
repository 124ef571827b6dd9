// Shops from a page, and reports to where the page came from.
import { shop } from "./shop.js";

const { edge } = await (await fetch("/config.json")).json();
const report = await shop({ baseUrl: edge }).catch((error: Error) => ({ failed: `${error}\n${error.stack}` }));
await fetch("/report", { method: "POST", body: JSON.stringify(report) });
