//go:build !linux

package sql_test

// diskChild is the child of a test that needs Linux's namespaces.
func diskChild() bool { return false }
