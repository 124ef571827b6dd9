// Loads every file of the contract, by the folder in which imports begin, and prints a service's methods.
const fs = require("node:fs");
const loader = require("@grpc/proto-loader");

const [root] = process.argv.slice(2);
const found = fs.readdirSync(`${root}/commerce`, { recursive: true }).filter((name) => name.endsWith(".proto"));
const loaded = loader.loadSync(found.map((name) => `commerce/${name}`), { includeDirs: [root] });
console.log(JSON.stringify(Object.keys(loaded["commerce.order.v1.OrderService"])));
