// The numbers in which Rust gives a verdict; src/verdict.rs says what they mean.

export const OUTCOME = 7;
export const ALLOW = 0;
export const REFUSE = 1;
export const WAIT = 2;
export const PROBE = 3;
export const PREFLIGHT = 4;

export const REFRESH = 8;
export const REPORT = 16;
export const RETIRING = 32;
export const KEEP_AUTHORIZATION = 64;
export const CACHE = 128;
/** The bits above are how many seconds the route lets a connection last, 0 where it does not say. */
export const AGE = 8;
