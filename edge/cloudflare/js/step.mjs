// What Rust says of a flight; src/refresh.rs holds the same numbers.

/** What a flight is to do next. */
export const FAILED = 0;
export const IN_FORCE = 1;
export const PASSED = 2;
export const WORKING = 3;
export const FETCH = 4;
export const NEEDS_TRUST = 5;

/** What a flight finds when it begins, as flags. */
export const KNOWS_HEAD = 1;
export const IS_WORKING = 2;
export const LACKS_TRUST = 4;

/** What a flight came to, when a report is to be sent besides. */
export const LANDED_REPORT = 2;
