// Package table finds the route of a request: a map of hosts, each with a list of
// patterns where they are few, else a trie of path segments. A Table is immutable;
// a change makes a new one that shares all it did not touch, so that readers need
// no lock and one route's change costs microseconds however many there are.
//
// What is before what is written on api.RouteSpec and, as a pure rule, in
// api.RouteLess; a test holds the two together.
package table
