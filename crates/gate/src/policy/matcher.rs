//! Finding the route of a request.
//!
//! Routes are sorted segment by segment, literals (by their octets) before `{name}` before `{*rest}`, a shorter pattern
//! before its extensions, then by method. Routes with the same first segments are therefore neighbours, and matching
//! narrows a range of the sorted list segment by segment with binary searches: the list is its own tree. Every range is
//! entered at most once, nothing is allocated, and the first match found is the most specific.

use core::cmp::Ordering;
use core::ops::Range;

use super::model::{Policy, Route};
use super::pattern::{Kind, cmp_segments};

impl Route {
    /// The order of routes in a policy. `Equal` is a tie, which no policy holds.
    pub(super) fn cmp_place(&self, other: &Self) -> Ordering {
        self.pattern.cmp_shape(&other.pattern).then_with(|| self.method.rank().cmp(&other.method.rank()))
    }
}

impl Policy {
    /// The route that decides about a request, if there is one. `path` is a canonical path.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<&Route> {
        let search = Search { routes: &self.routes, method };
        search.below(0..self.routes.len(), 0, path.strip_prefix('/'))
    }
}

struct Search<'p, 'r> {
    routes: &'p [Route],
    method: &'r str,
}

impl<'p> Search<'p, '_> {
    /// Searches the routes of `range`, which agree with the path in the first `depth` segments; `path` is what follows.
    fn below(&self, range: Range<usize>, depth: usize, path: Option<&str>) -> Option<&'p Route> {
        if range.is_empty() {
            return None;
        }
        // Patterns that end here come first.
        let longer = self.split(&range, |route| route.pattern.len() == depth);
        let Some(path) = path else {
            return self.first(range.start..longer);
        };
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        let names = self.split(&(longer..range.end), |route| route.pattern.kind(depth) == Kind::Literal);
        let rests = self.split(&(names..range.end), |route| route.pattern.kind(depth) == Kind::Name);

        let against = |route: &Route| cmp_segments(route.pattern.literal(depth), segment);
        let from = self.split(&(longer..names), |route| against(route).is_lt());
        let to = self.split(&(from..names), |route| against(route).is_eq());
        if let Some(route) = self.below(from..to, depth + 1, rest) {
            return Some(route);
        }
        if !segment.is_empty()
            && let Some(route) = self.below(names..rests, depth + 1, rest)
        {
            return Some(route);
        }
        self.first(rests..range.end)
    }

    /// Where, in a range that begins with the routes of which `holds` is true, the others begin.
    fn split(&self, range: &Range<usize>, holds: impl Fn(&Route) -> bool) -> usize {
        range.start + self.routes[range.clone()].partition_point(holds)
    }

    /// Of routes of one shape, the one whose method fits best.
    fn first(&self, range: Range<usize>) -> Option<&'p Route> {
        self.routes[range].iter().find(|route| route.method.matches(self.method))
    }
}
