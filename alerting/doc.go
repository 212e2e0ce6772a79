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
// ticks nor gaps nor the clock can open one (but a gap that of an unknown rule,
// and ticks that of an absent one); it clears only at a good result.
//
// When the clock is set forward, windows hold what the new time leaves in them,
// findings stay, and nothing opens or resolves because of it. When it is set
// back, by more than two minutes and two intervals, the windows of a check move
// back with it, contents and all, at its next result. An incident that is open
// meanwhile is shown too short, never longer than it was. Who is told and when
// follows a clock that is set back by more than five minutes.
//
// # Error budgets
//
// The windows of an SLO belong to a set of checks, not to each check: rings of
// minutes for an hour, 5 minutes for six, half hours for three days and a 60th
// for the whole window (budget.go), about 2 KiB whatever happens. What a window
// should have held before anything was watched is counted as if it had been
// good, so that the budget of a new SLO is that of its whole window. Alerts look
// at what was bad since the last finding cleared; budgets and burn rates that
// are shown look at everything. While the monitor is blind, dns and connect
// failures count as unknown; those before it was clear stay spent.
package alerting
