/** A server of `node:http` that knows nothing of processes, as PM2 runs it in cluster mode. */
import { createServer } from "node:http";
import process from "node:process";
import { answer } from "./answer.js";

createServer(answer).listen(Number(process.env["PORT"]), "127.0.0.1");
