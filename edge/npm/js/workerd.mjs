// For workerd and bundlers that hand over a compiled module.
import module from "./nightlatch_edge_bg.wasm";
import { initSync } from "./nightlatch_edge.js";

initSync({ module });

export * from "./nightlatch_edge.js";
