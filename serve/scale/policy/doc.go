// Package policy holds what decides how many instances there should be, as pure
// functions and small values without clocks, locks or goroutines: Desired for the
// queue, Knative for Knative's algorithm, Usage for processor time and memory,
// Gaps for what past idle times say about the next call, and Reserved for the
// hours that are reserved. Package scale applies them to instances; package
// simulate to made-up ones.
package policy
