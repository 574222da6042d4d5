// Package api holds Hearth's nouns: the resources people write (Function,
// Runtime, Route), the ones the reconcilers make (Revision), and what all of
// them share: metadata, conditions, references, errors, validation and JSON
// Schema.
//
// It is the innermost package: standard library only, no I/O, no clocks. The
// verbs that act on these nouns are contracts in core; how they travel as YAML
// is package manifest; how others' resources become ours is dialect.
package api
