// Package alerting decides when people are told. Rules look at the entries of
// the log and make findings; the findings about one group of checks are one
// incident. Nothing here has a clock, reads or writes anything, or waits: the
// same entries make the same incidents, so a log can be stepped again after a
// crash, or in a test.
//
// To add a kind of rule: write its settings struct in rule.go with a field in
// Rule, its part of Rule.Validate, and how it judges a result (judge.go), when
// it trips (trip.go) and what it says (sentence.go).
//
// # Time
//
// Time is what the entries say. A window ends at the slot of the result that is
// being judged. Results may come late and out of order: they count at their
// slot if that is still in the window, while streaks follow the order of the
// log. A finding opens only at a result that is bad for its rule, so neither
// ticks nor gaps nor the clock can open one (a gap can for the unknown rule);
// it clears only at a good result.
//
// When the clock is set forward, windows hold what the new time leaves in them,
// findings stay, and nothing opens or resolves because of it. When it is set
// back, by more than two minutes and two intervals, the windows of a check move
// back with it, contents and all, at its next result. An incident that is open
// meanwhile is shown too short, never longer than it was.
package alerting
