//! Which facts make a row, and what is asked of it.

use super::facts::Facts;
use crate::bench::row::{Row, Target};
use crate::npm_build::GZIP_BUDGET;

const MILLION: u32 = 1_000_000;
const MIB: f64 = 1_048_576.0;

/// Every row whose facts were measured.
pub(super) fn rows(facts: &Facts, keys: &[u32]) -> Vec<Row> {
    let mut rows = Rows { facts, rows: Vec::new() };
    for &keys in keys {
        rows.sizes(keys);
    }
    for &keys in keys {
        rows.lookups(keys);
    }
    rows.counted();
    rows.wasm(MILLION);
    rows.wasm(5 * MILLION);
    rows.loads();
    for &keys in keys {
        rows.deltas(keys);
    }
    rows.applies();
    rows.catch_up();
    for keys in [MILLION, 5 * MILLION] {
        rows.rebase(keys);
    }
    for keys in [MILLION, 10 * MILLION] {
        rows.publisher(keys);
    }
    rows.memory();
    rows.rows
}

struct Rows<'a> {
    facts: &'a Facts,
    rows: Vec<Row>,
}

impl Rows<'_> {
    /// A row of two facts, `scale` times their values.
    fn ratio(&mut self, goal: String, measured: &str, reference: &str, scale: f64, target: impl Into<Option<Target>>) {
        if let (Some(measured), Some(reference)) = (self.facts.get(measured), self.facts.get(reference)) {
            self.row(Row::new(goal, measured * scale).against(reference * scale), target);
        }
    }

    /// A row of one fact.
    fn value(&mut self, goal: String, measured: &str, scale: f64, target: impl Into<Option<Target>>) {
        if let Some(measured) = self.facts.get(measured) {
            self.row(Row::new(goal, measured * scale), target);
        }
    }

    fn row(&mut self, row: Row, target: impl Into<Option<Target>>) {
        self.rows.push(match target.into() {
            Some(target) => row.target(target),
            None => row,
        });
    }

    fn sizes(&mut self, keys: u32) {
        let of = named(keys);
        // Stated at 1M and at 10M; in between the greater, below the smaller set has room to match more bits.
        let target = match keys {
            MILLION => Some(Target::RatioAtMost(1.04)),
            above if above > MILLION => Some(Target::RatioAtMost(1.07)),
            _ => None,
        };
        self.ratio(
            format!("base of {of}, keys only / information bound at 128 bits (bytes per key)"),
            &format!("size.{keys}.keys_only"),
            &format!("size.{keys}.bound"),
            1.0,
            target,
        );
        self.value(format!("base of {of}, metadata (bytes per key)"), &format!("size.{keys}.meta"), 1.0, None);
        let target = (keys >= MILLION).then_some(Target::AtMost(26.0));
        self.value(
            format!("base of {of}, metadata and subject (bytes per key)"),
            &format!("size.{keys}.subject"),
            1.0,
            target,
        );
        let large = keys >= MILLION;
        self.ratio(
            format!("memory, {of} / hashbrown of the same payload (bytes per key)"),
            &format!("ram.{keys}.ours"),
            &format!("ram.{keys}.fast"),
            1.0,
            large.then_some(Target::RatioAtMost(0.6)),
        );
        self.value(
            format!("memory of BinaryFuse8, which only rejects, {of} (bytes per key)"),
            &format!("ram.{keys}.fuse8"),
            1.0,
            None,
        );
        self.value(
            format!("memory of BinaryFuse16, which only rejects, {of} (bytes per key)"),
            &format!("ram.{keys}.fuse16"),
            1.0,
            None,
        );
    }

    fn lookups(&mut self, keys: u32) {
        let of = named(keys);
        let large = keys >= MILLION;
        let at_most = |most: f64| large.then_some(Target::RatioAtMost(most));
        for (kind, peer, whose, target) in [
            ("hit", "fast", "hashbrown", at_most(1.5)),
            ("miss", "fast", "hashbrown", None),
            ("dependent", "fast", "hashbrown", at_most(0.75)),
            ("hit", "std", "std HashMap", at_most(0.6)),
            ("miss", "std", "std HashMap", None),
            ("dependent", "std", "std HashMap", None),
            ("hit", "sorted", "slice::binary_search", at_most(0.125)),
            ("miss", "fuse8", "BinaryFuse8, reject only", None),
            ("miss", "fuse16", "BinaryFuse16, reject only", None),
        ] {
            self.ratio(
                format!("lookup, {of}, {kind} / {whose} (ns)"),
                &format!("lookup.{keys}.{kind}.ours"),
                &format!("lookup.{keys}.{kind}.{peer}"),
                1.0,
                target,
            );
        }
    }

    fn counted(&mut self) {
        self.value("instructions per hit".into(), "instructions.ours", 1.0, Target::AtMost(75.0));
        let target = Target::RatioAtMost(1.75);
        self.ratio("instructions per hit / hashbrown".into(), "instructions.ours", "instructions.fast", 1.0, target);
        if let Some(asked) = self.facts.get("probes.asked") {
            let goal = format!("random probes accepted, of {asked:.0}");
            self.value(goal, "probes.accepted", 1.0, Target::AtMost(0.0));
        }
        self.value("tags accepted with one bit turned".into(), "probes.turned_accepted", 1.0, Target::AtMost(0.0));
        self.value(
            "verifier core, gzip (KiB)".into(),
            "npm.gzip",
            1.0 / 1_024.0,
            Target::AtMost(GZIP_BUDGET as f64 / 1_024.0),
        );
    }

    fn wasm(&mut self, keys: u32) {
        let of = named(keys);
        let stated = (keys == MILLION).then_some(Target::RatioAtMost(1.6));
        self.ratio(
            format!("lookup in Wasm, {of}, hit / native (ns)"),
            &format!("wasm.{keys}.hit"),
            &format!("native.{keys}.hit"),
            1.0,
            stated,
        );
        self.ratio(
            format!("lookup in Wasm, {of}, miss / native (ns)"),
            &format!("wasm.{keys}.miss"),
            &format!("native.{keys}.miss"),
            1.0,
            None,
        );
        self.value(format!("lookup in Wasm, {of}, dependent (ns)"), &format!("wasm.{keys}.dependent"), 1.0, None);
        let stated = (keys == MILLION).then_some(Target::RatioAtMost(1.25));
        for (goal, measured, target) in
            [("text in memory → verdict", "verdict", stated), ("JavaScript string → verdict", "string", None)]
        {
            let goal = format!("{goal} in Wasm, {of} / its two bare SHA-256 compressions there (ns)");
            self.ratio(goal, &format!("wasm.{keys}.{measured}"), &format!("wasm.{keys}.compressions"), 1.0, target);
        }
        for (goal, measured) in [("shape and checksum of a text", "shape"), ("digest and tag of a text", "tag")] {
            let goal = format!("{goal} in Wasm / two bare SHA-256 compressions there (ns)");
            if keys == MILLION {
                self.ratio(goal, &format!("wasm.{keys}.{measured}"), &format!("wasm.{keys}.compressions"), 1.0, None);
            }
        }
        let goal = format!("JavaScript string → verdict, {of} / createHash and Map.get (ns)");
        let stated = (keys == MILLION).then_some(Target::RatioAtMost(0.25));
        self.ratio(goal, &format!("wasm.{keys}.string"), &format!("wasm.{keys}.node"), 1.0, stated);
        for kind in ["hit", "verdict"] {
            let goal = format!("{kind} in workerd, {of} / in Node (ns)");
            self.ratio(goal, &format!("workerd.{keys}.{kind}"), &format!("wasm.{keys}.{kind}"), 1.0, None);
        }
        let goal = format!("text → verdict in workerd, {of} / its two bare SHA-256 compressions there (ns)");
        self.ratio(goal, &format!("workerd.{keys}.verdict"), &format!("workerd.{keys}.compressions"), 1.0, None);
    }

    fn loads(&mut self) {
        const MICRO: f64 = 1e3;
        for (place, name) in [("native", "native"), ("in Wasm", "wasm")] {
            self.ratio(
                format!("load {place}, 5M keys / 1M (µs)"),
                &format!("load.5000000.{name}"),
                &format!("load.1000000.{name}"),
                MICRO,
                Target::RatioAtMost(1.5),
            );
        }
        let target = Target::RatioAtMost(0.001);
        self.ratio(
            "load native, 1M keys / parsing them as JSON (µs)".into(),
            "load.1000000.native",
            "load.1000000.json",
            MICRO,
            target,
        );
        self.ratio(
            "load in Wasm, 1M keys / JSON.parse of them (µs)".into(),
            "load.1000000.wasm",
            "load.1000000.json_parse",
            MICRO,
            target,
        );
        for keys in [MILLION, 5 * MILLION] {
            let of = named(keys);
            let cold = |what: &str| format!("cold.{keys}.{what}");
            self.value(
                format!("fresh V8, bytes in memory → first verdict, {of} (ms)"),
                &cold("first"),
                1.0,
                Target::AtMost(3.0),
            );
            self.value(format!("the same, code warm, {of} (ms)"), &cold("warm"), 1.0, Target::AtMost(1.0));
            self.value(format!("fresh V8, copying the base into Wasm memory, {of} (ms)"), &cold("copy"), 1.0, None);
        }
        let goal = "fresh V8, bytes in memory → first verdict, 5M keys / 1M (ms)".to_owned();
        self.ratio(goal, "cold.5000000.first", "cold.1000000.first", 1.0, Target::RatioAtMost(1.5));
    }

    fn deltas(&mut self, keys: u32) {
        let of = named(keys);
        let delta = |what: &str| format!("delta.{keys}.{what}");
        let large = keys >= MILLION;
        let target = large.then_some(Target::RatioAtMost(1.02));
        self.ratio(
            format!("delta of 1000 on {of}, payload / information bound (bytes)"),
            &delta("payload"),
            &delta("bound"),
            1.0,
            target,
        );
        self.ratio(
            format!("delta of 1000 on {of}, whole file / information bound (bytes)"),
            &delta("file"),
            &delta("bound"),
            1.0,
            None,
        );
        if let Some(file) = self.facts.get(&delta("file")) {
            let row = Row::new(format!("delta of 1000 on {of}, whole file / records of 20 bytes (bytes)"), file)
                .against(20_000.0);
            self.row(row, None);
        }
        let target = match keys {
            MILLION => Some(Target::RatioAtMost(0.85)),
            above if above >= 5 * MILLION => Some(Target::RatioAtMost(0.4)),
            _ => None,
        };
        let goal = format!("delta of 1000 on {of}, whole file / zstd -19 --patch-from of sorted rows (bytes)");
        self.ratio(goal, &delta("file"), &delta("zstd"), 1.0, target);
        let target = large.then_some(Target::AtMost(10.0));
        self.value(format!("making a delta of 1000 on {of} (ms)"), &format!("author.{keys}.delta"), 1.0, target);
    }

    fn applies(&mut self) {
        for keys in [MILLION, 5 * MILLION] {
            let of = named(keys);
            let apply = |what: &str| format!("apply.{keys}.{what}");
            self.value(
                format!("applying 1000 changes to {of} in Wasm, warm (ms)"),
                &apply("wasm_warm"),
                1.0,
                Target::AtMost(0.1),
            );
            self.value(
                format!("applying 1000 changes to {of} in Wasm, first (ms)"),
                &apply("wasm_first"),
                1.0,
                Target::AtMost(2.0),
            );
            self.value(
                format!("signature and decoding of 1000 changes to {of} in Wasm (ms)"),
                &apply("wasm_open"),
                1.0,
                None,
            );
            self.value(format!("applying 1000 changes to {of}, native (ms)"), &apply("warm"), 1.0, None);
        }
        self.ratio(
            "applying 1000 changes, native, 10M keys / 1M (ms)".into(),
            "apply.10000000.warm",
            "apply.1000000.warm",
            1.0,
            Target::RatioAtMost(2.5),
        );
        let goal = "applying 1000 changes to 1M keys, native / filling a std HashMap with them (ms)".to_owned();
        self.ratio(goal, "apply.1000000.warm", "build.1000000.map", 1.0, Target::RatioAtMost(0.001));
    }

    fn catch_up(&mut self) {
        let Some(versions) = self.facts.get("catch_up.versions") else {
            return;
        };
        let behind = format!("{versions:.0} versions of 50 changes behind");
        self.value(
            format!("{behind}, fetches at most, from 100000 places"),
            "catch_up.fetches_max",
            1.0,
            Target::AtMost(30.0),
        );
        self.value(format!("{behind}, fetches on average"), "catch_up.fetches_mean", 1.0, None);
        let name = format!("{behind}, bytes / one merged delta");
        self.ratio(
            name,
            "catch_up.bytes",
            "catch_up.merged",
            1.0,
            (versions > 10_000.0).then_some(Target::RatioAtMost(1.05)),
        );
        let name = format!("{behind}, bytes / version by version");
        self.ratio(name, "catch_up.bytes", "catch_up.linear", 1.0, Target::RatioAtMost(0.65));
    }

    fn rebase(&mut self, keys: u32) {
        let of = named(keys);
        let rebase = |what: &str| format!("rebase.{keys}.{what}");
        for (place, name) in [("native", "native"), ("in Wasm", "wasm")] {
            self.value(
                format!("rebase of {of} {place}, longest slice (ms)"),
                &rebase(&format!("{name}_longest")),
                1.0,
                Target::AtMost(2.0),
            );
            self.value(format!("rebase of {of} {place}, all slices (ms)"), &rebase(name), 1.0, None);
        }
        self.value(format!("rebase of {of}, publisher (ms)"), &rebase("publisher"), 1.0, None);
        self.value(format!("rebase record of {of} after 20000 changes (bytes)"), &rebase("record"), 1.0, None);
    }

    fn publisher(&mut self, keys: u32) {
        let of = named(keys);
        let build = |what: &str| format!("build.{keys}.{what}");
        let facts = self.facts;
        // Coming by the changes costs both the same and is neither's.
        let own = |who: &str| Some(facts.get(&build(who))? - facts.get(&build("changes"))?);
        if let (Some(base), Some(map)) = (own("base"), own("map")) {
            let row =
                Row::new(format!("base of {of} from unsorted changes / std HashMap inserts (ms)"), base).against(map);
            self.row(row, (keys > MILLION).then_some(Target::RatioAtMost(0.6)));
        }
        let goal = format!("building a base of {of}, peak memory / its bytes (MiB)");
        self.ratio(goal, &build("base_peak"), &build("base_bytes"), 1.0 / MIB, None);
    }

    fn memory(&mut self) {
        for (name, what) in [("without", "4.5M keys without subject"), ("with", "3.5M keys with subject")] {
            for (moment, when) in
                [("loaded", "loaded"), ("changed", "after deltas"), ("rebased", "during and after a rebase")]
            {
                let goal = format!("Wasm memory and JavaScript heap, {what}, {when} (MiB)");
                self.value(goal, &format!("memory.{name}.{moment}"), 1.0 / MIB, Target::AtMost(100.0));
            }
            let goal = format!("rebase of {what} in the package, all slices (ms)");
            self.value(goal, &format!("memory.{name}.rebase"), 1.0, None);
        }
    }
}

/// A number of keys as people say it.
fn named(keys: u32) -> String {
    match keys {
        keys if keys % MILLION == 0 => format!("{}M keys", keys / MILLION),
        keys if keys % 1_000 == 0 => format!("{}k keys", keys / 1_000),
        keys => format!("{keys} keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_in_the_table() {
        let mut facts = Facts::default();
        assert!(rows(&facts, &[MILLION]).is_empty());
        facts.set("size.1000000.keys_only", 14.1);
        facts.set("size.1000000.bound", 13.7);
        let rows = rows(&facts, &[MILLION]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].pass(), Some(true));
        assert!(rows[0].goal.starts_with("base of 1M keys"));
    }
}
