// For Node: the module is read from beside this file, once, before anything else of the program runs.
import { readFileSync } from "node:fs";

import { initSync } from "./nightlatch_edge.js";

initSync({ module: readFileSync(new URL("./nightlatch_edge_bg.wasm", import.meta.url)) });

export * from "./nightlatch_edge.js";
